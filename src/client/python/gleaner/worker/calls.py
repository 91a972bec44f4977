"""What of a Python application's calls happens on a worker: the context that `connect` registers is made of this.

The context's file imports `set_up` and `call` from here; beside it are the setup function and its arguments as a pickle, the
application's own modules, and cloudpickle if the application has it.
"""

import asyncio
import base64
import importlib
import inspect
import os
import runpy
import socket
import sys
import tempfile
import types
import zlib

from ..packing import values
from . import library, variables

# Functions that were unpickled, by what they came as; the last that many.
_FUNCTIONS_MAX = 1000
_functions = {}
# An exception's pickle, in base64, that is longer than this does not come along.
_ORIGINAL_MAX = 16 << 10

# The version of what client and worker say to each other here.
FORMAT = 1


class VersionError(Exception):
    """Client and worker cannot understand each other's pickles."""


def set_up(folder, options):
    """Makes the context: `options` is what the client wrote into setup.json, `folder` what came with it."""
    if options["format"] != FORMAT:
        raise VersionError(
            "the package gleaner of the program is of another version than the factory: install the one that the factory brings "
            '(pip install "$(factory python)")'
        )
    if options["by_value"]:
        _check_version(options["python"])
    for name in ("packages", "modules"):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            sys.path.insert(0, path)
    if options["folder"] and os.path.isdir(options["folder"]):
        os.chdir(options["folder"])
    if options["parsl"]:
        from . import serverless

        serverless.install()
    if options["main"]:
        _load_main(os.path.join(folder, "modules", options["main"]))
    path = os.path.join(folder, "setup.pickle")
    if not os.path.exists(path):
        variables.keep(None, {})
        return None
    with open(path, "rb") as file:
        function, args, kwargs = values.pickle.load(file)
    made = _finish(function(*args, **kwargs))
    if not isinstance(made, dict):
        name = getattr(function, "__name__", "the setup function")
        raise TypeError(
            "%s returned a %s: return a dict of variables, such as {'model': model}" % (name, type(made).__name__)
        )
    return made


def _check_version(wanted):
    found = values.python_version()
    if wanted != found:
        raise VersionError(
            "the program runs Python %s, and %s on node %s is Python %s, which cannot read its functions: run the program with Python "
            "%s, give environment=, have python%s on the nodes, or move the functions into a module of your own"
            % (wanted, sys.executable, socket.gethostname(), found, found, wanted)
        )


def _load_main(path):
    """Has the main program's functions found as its own pickles name them, as multiprocessing does it."""
    module = types.ModuleType("__mp_main__")
    module.__file__ = path
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    module.__dict__.update(runpy.run_path(path, run_name="__mp_main__"))


def call(input):  # pylint: disable=redefined-builtin
    """Runs one call: `[function, arguments, version, modules]`.

    The first two are packed. The version is that of Python, if there is code in them; modules are a blob with those of the
    program, beyond the context's own, or null.
    """
    packed_function, packed_arguments, version, modules = input
    try:
        if version is not None:
            _check_version(version)
        if modules != _modules.current:
            _modules.use(modules)
        function = _function(packed_function)
        args, kwargs = values.unpack(packed_arguments, _read)
        packed = values.pack(_finish(function(*args, **kwargs)))
    except Exception as error:  # pylint: disable=broad-except
        _attach(error)
        raise
    for sha256, data in packed.parts.items():
        values.write_blob(library.blob_folder, sha256, data)
    return library.Sent(packed.json, packed.blobs.items())


class _Modules:
    """The modules of programs whose calls run here, one program's at a time: others may have other modules of the same names."""

    def __init__(self):
        self.current = None
        self._folders = {}

    def use(self, modules):
        """Has these be the ones that are found. Imports that are not the same any more are forgotten."""
        if self.current is not None:
            folder = self._folders[self.current["sha256"]]
            sys.path.remove(folder)
            for name, module in list(sys.modules.items()):
                if (getattr(module, "__file__", None) or "").startswith(folder + os.sep):
                    del sys.modules[name]
        _functions.clear()
        self.current = None
        if modules is None:
            return
        folder = self._folders.get(modules["sha256"])
        if folder is None:
            folder = self._folders[modules["sha256"]] = self._unpack(_read(modules["sha256"], modules["bytes"]))
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        self.current = modules
        main = os.path.join(folder, "__mp_main__.py")
        if os.path.exists(main):
            _load_main(main)

    @staticmethod
    def _unpack(archive):
        folder = tempfile.mkdtemp(prefix="modules-")
        for path, data in values.pickle.loads(zlib.decompress(archive)):
            target = os.path.join(folder, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(data)
        return folder


_modules = _Modules()


def _function(packed):
    key = packed if isinstance(packed, str) else packed["sha256"]
    known = _functions.get(key)
    if known is None:
        data = base64.b64decode(packed) if isinstance(packed, str) else _read(packed["sha256"], packed["bytes"])
        known = values.pickle.loads(data)
        if len(_functions) >= _FUNCTIONS_MAX:
            del _functions[next(iter(_functions))]
        _functions[key] = known
    return known


def _read(sha256, size):
    return values.read_blob(library.blob_folder, sha256, size)


def _finish(value):
    """What an `async` function comes to, or any other value as it is."""
    return asyncio.run(value) if inspect.iscoroutine(value) else value


class _Bare:
    """Stands for an exception that pickle would make anew by its `__init__`, which wants other arguments than it keeps."""

    def __init__(self, error):
        self._error = error

    def __reduce__(self):
        return (values.bare_exception, (type(self._error), self._error.args, vars(self._error)))


def _pickle_of(value):
    try:
        data = values.dumps(value)
        values.pickle.loads(data)
    # What is rebuilt may do anything, such as to leave the process.
    except BaseException:  # pylint: disable=broad-except
        return None
    return data


def _attach(error):
    """Has an exception travel as itself, too, if it can be pickled, and rebuilt from that."""
    data = _pickle_of(error) or _pickle_of(_Bare(error))
    if data is None:
        return
    text = base64.b64encode(data).decode()
    if len(text) <= _ORIGINAL_MAX:
        try:
            setattr(error, library.ORIGINAL, text)
        except (AttributeError, TypeError):
            pass
