"""Functions that run on a factory's workers."""

import base64
import collections
import concurrent.futures
import functools
import hashlib
import queue
import sys
import types

from .contexts import Context, Registration, unwrapped
from .errors import GleanerError, InputError
from .futures import Future, find_futures, replace_futures, run_in_turn, when_all_done
from .packing import modules, values
from .worker import library

# A function's pickle of more bytes travels as a blob, once, instead of with each call.
_INLINE_FUNCTION = 1 << 10
_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, type, types.ModuleType, types.BuiltinFunctionType)

JOB_OPTIONS = {"retries": "retries", "time_limit": "timeLimitMs", "priority": "priority"}
OPTIONS = ("context", "bundles", "environment", "job") + tuple(JOB_OPTIONS)


class Mapped(collections.namedtuple("Mapped", "index input value error")):
    """How one item of a map came out: `value`, or the exception `error`, which is None if all is well."""

    __slots__ = ()


class RemoteFunction:
    """A function of the program that runs on the factory's workers: calling it returns a Future at once.

    Made by `factory.function`. Arguments may be futures, of this factory or others: the call is made once they have results.
    """

    def __init__(self, factory, function, options):
        unknown = [name for name in options if name not in OPTIONS]
        if unknown:
            raise InputError("there is no option %s; there are %s" % (", ".join(unknown), ", ".join(OPTIONS)))
        if not callable(function):
            raise InputError("%r is not a function" % (function,))
        self._factory = factory
        self._options = options
        self.__gleaner_function__ = unwrapped(function)
        functools.update_wrapper(self, self.__gleaner_function__)

    def __call__(self, *args, **kwargs):
        if library.blob_folder is not None:
            # It is called by another call, on a worker: it runs right there.
            future = concurrent.futures.Future()
            future.set_result(self.__gleaner_function__(*args, **kwargs))
            return future
        return self._factory.start_call(self.__gleaner_function__, args, kwargs, self._options)

    def using(self, **options):
        """The same function with other options: context, bundles, environment, job, retries, time_limit, priority."""
        return RemoteFunction(self._factory, self.__gleaner_function__, dict(self._options, **options))

    def map(self, *iterables, window=1000):
        """Calls the function with each item, or each item of several iterables side by side; yields the values in their order.

        Reads no further than `window` calls ahead of what was taken from it. Raises what a call raised when its turn comes. Calls
        that have not ended when the reader stops are cancelled.
        """
        running = collections.deque()
        try:
            for arguments in zip(*iterables):
                running.append(self(*arguments))
                if len(running) >= window:
                    yield _oldest(running)
            while running:
                yield _oldest(running)
        finally:
            for future in running:
                future.cancel()

    def map_unordered(self, items, window=1000):
        """Calls the function with each item; yields a Mapped for each, failed ones too, as they come."""
        ended = queue.SimpleQueue()
        running = set()
        source = enumerate(items)
        try:
            while True:
                for index, item in source:
                    future = self(item)
                    running.add(future)
                    future.add_done_callback(lambda future, index=index, item=item: ended.put((index, item, future)))
                    if len(running) >= window:
                        break
                if not running:
                    return
                index, item, future = ended.get()
                running.discard(future)
                error = future.exception()
                yield Mapped(index, item, None if error else future.result(), error)
        finally:
            for future in running:
                future.cancel()

    async def amap(self, *iterables, window=1000):
        """The same as `map`, as an asynchronous generator."""
        running = collections.deque()
        try:
            for arguments in zip(*iterables):
                running.append(self(*arguments))
                if len(running) >= window:
                    yield await running.popleft()
            while running:
                yield await running.popleft()
        finally:
            for future in running:
                future.cancel()

    def __reduce__(self):
        # Where another function that uses it runs, it is the function itself.
        return (_rebuilt, (self.__gleaner_function__,))

    def __get__(self, instance, owner=None):
        return self if instance is None else functools.partial(self, instance)


def _oldest(running):
    """What the call that comes first came to. It stays among the others until then: an interrupt cancels it with them."""
    value = running[0].result()
    running.popleft()
    return value


def _rebuilt(function):
    return RemoteFunction(None, function, {})


class _ByName:
    """Stands for a function under whose name its module has something made of it."""

    def __init__(self, function):
        self._module, self._name = function.__module__, function.__qualname__

    def __reduce__(self):
        return (_by_name, (self._module, self._name))


def _by_name(module, name):
    __import__(module)
    found = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    return unwrapped(found)


class Shipment:
    """A function ready to travel: `text` is JSON, a pickle in base64 or a blob; so is `modules`, if not null; `parts` has the bytes."""

    __slots__ = ("text", "blobs", "parts", "by_value", "modules", "session", "signature", "function", "options")


class Calls:
    """The calls of one factory: finds, or makes, the session in which each belongs."""

    def __init__(self, factory):
        self._factory = factory
        self._shipments = collections.OrderedDict()
        self._registrations = {}

    def start(self, function, args, kwargs, options):
        """Makes one call. What is wrong with its arguments comes by the future."""
        future = Future(self._factory)
        shipment = self._shipment(function, options)
        waited = find_futures(args) + find_futures(kwargs.values()) if args or kwargs else ()
        if not waited:
            self._submit(future, shipment, args, kwargs)
            return future

        def ready():
            if future.cancelled():
                return
            try:
                resolved = replace_futures(args, self._factory)
                named = dict(zip(kwargs, replace_futures(kwargs.values(), self._factory)))
            except Exception as error:  # pylint: disable=broad-except
                future.settle(future.set_exception, error)
            else:
                self._submit(future, shipment, resolved, named)

        when_all_done(waited, ready)
        return future

    def _submit(self, future, shipment, args, kwargs):
        try:
            packed = values.pack_call(tuple(args), kwargs)
        except Exception as error:  # pylint: disable=broad-except
            name = getattr(shipment.function, "__name__", "the function")
            made = InputError("the arguments of %s cannot travel: %s" % (name, error))
            made.__cause__ = error
            future.settle(future.set_exception, made)
            return
        version = '"%s"' % values.python_version() if shipment.by_value or packed.by_value else "null"
        text = "[%s,%s,%s,%s]" % (shipment.text, packed.json, version, shipment.modules)
        blobs, parts = packed.blobs, packed.parts
        if shipment.blobs:
            blobs, parts = dict(blobs, **shipment.blobs), dict(parts, **shipment.parts)
        try:
            shipment.session.submit(future, text, blobs, parts)
        except GleanerError as error:
            future.settle(future.set_exception, error)

    def _shipment(self, function, options):
        """The function as it travels. It is pickled anew if what it refers to may have changed since."""
        signature = _signature(function)
        if signature is not None:
            # What is imported goes along.
            signature += (len(sys.modules),)
        key = (id(function), key_of(options))
        known = self._shipments.get(key)
        if known is not None and known.signature is not None and known.signature == signature:
            return known
        made = self._ship(function, options)
        made.signature = signature
        if signature is not None:
            self._shipments[key] = made
            if len(self._shipments) > 1000:
                self._shipments.popitem(last=False)
        return made

    def _ship(self, function, options):
        made = Shipment()
        data = _dump(function)
        made.function, made.options = function, options
        made.by_value = values.is_by_value(data)
        made.blobs, made.parts = {}, {}
        if len(data) <= _INLINE_FUNCTION:
            made.text = '"%s"' % base64.b64encode(data).decode()
        else:
            made.text = _as_blob(made, data)
        registration = self._registration(options)
        self._add_modules(made, data, registration)
        made.session = self._factory.session_of(registration, options)
        return made

    def _registration(self, options):
        key = key_of({name: options.get(name) for name in ("context", "bundles", "environment")})
        if key not in self._registrations:
            context = Context.of(options.get("context"), options.get("bundles"), options.get("environment"))
            self._registrations[key] = (Registration(context), options)
        return self._registrations[key][0]

    @staticmethod
    def _add_modules(made, data, registration):
        """The program's own modules that are not in the context travel with the function, so that it stays when they change."""
        with_main = values.cloudpickle() is None and b"__main__" in data
        if with_main:
            # What comes back from workers names the main program as they know it.
            sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        files = modules.collect([data], with_main, with_loaded=True)
        files = {path: content for path, content in files.items() if path not in registration.modules}
        made.modules = "null"
        if files:
            made.modules = _as_blob(made, modules.archive(files))


def _as_blob(shipment, data):
    sha256 = hashlib.sha256(data).hexdigest()
    shipment.blobs[sha256] = len(data)
    shipment.parts[sha256] = data
    return '{"sha256":"%s","bytes":%d}' % (sha256, len(data))


def key_of(value):
    """What tells options from others: by identity what may be anything, which is kept for as long as the key is."""
    if isinstance(value, dict):
        return tuple((name, key_of(each)) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(key_of(each) for each in value)
    return (type(value), value) if isinstance(value, _IMMUTABLE) else id(value)


def _dump(function):
    try:
        if getattr(sys.modules.get(getattr(function, "__module__", None)), getattr(function, "__name__", ""), None) is not None:
            found = getattr(sys.modules[function.__module__], function.__name__)
            if found is not function and unwrapped(found) is function and values.cloudpickle() is None:
                function = _ByName(function)
        return values.dumps(function)
    except Exception as error:
        hint = "" if values.cloudpickle() else "; pip install cloudpickle lets functions of any kind travel"
        raise InputError("%r cannot travel: %s%s" % (function, error, hint)) from error


def _signature(function, depth=0):
    """Tells whether a pickle of the function would still be the same; None if that cannot be told.

    A function of a module is what its module makes it. One that travels by value takes along the globals it names and what
    it closes over: those must be the very same, and of kinds that do not change.
    """
    if type(function) is not types.FunctionType or depth > 5:
        return None
    if getattr(sys.modules.get(function.__module__), function.__name__, None) is function and function.__module__ != "__main__":
        return ()
    found = [function.__code__, function.__defaults__, function.__kwdefaults__]
    if not all(isinstance(each, _IMMUTABLE) for each in (function.__defaults__ or ())) or function.__kwdefaults__:
        return None
    named = [function.__globals__[name] for name in _global_names(function.__code__) if name in function.__globals__]
    try:
        named += [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        return None
    for value in named:
        if isinstance(value, _IMMUTABLE):
            found.append((id(value), value))
        elif type(value) in (types.FunctionType, RemoteFunction):
            value = unwrapped(value)
            if value is not function:
                inner = _signature(value, depth + 1)
                if inner is None:
                    return None
                found.append((id(value), inner))
        else:
            return None
    return tuple(found)


@functools.lru_cache(4096)
def _global_names(code):
    """Names that the code, or code inside of it, may look up among globals."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return frozenset(names)
