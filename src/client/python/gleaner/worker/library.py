"""The process that holds a Python context loaded and answers its calls.

The library process starts it and speaks to it in lines of JSON at file descriptor 3; see src/library/kinds/python. Needs Python
3.8 and nothing but its standard library.
"""

import importlib.util
import json
import os
import signal
import sys
import traceback

from . import variables

_FD = 3
# Characters of a traceback and of what a call prints, and bytes of a result, that can be sent.
_STACK_MAX = 16 << 10
_LOG_MAX = 16 << 10
_VALUE_MAX = 8 << 20
# Causes of causes, and errors of a group, that come along with an error.
_DEPTH_MAX = 5
_GROUP_MAX = 10

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class BundleError(Exception):
    """A bundle does not hold what its context says."""


class ResultError(Exception):
    """A result cannot be sent."""


# An exception may have this attribute: itself as a pickle in base64, for a client in Python.
ORIGINAL = "_gleaner_original"


class _Printed:
    """A standard stream that also keeps the end of what is printed, until it is taken."""

    kept = ""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        kept = _Printed.kept + text
        _Printed.kept = kept[-_LOG_MAX:] if len(kept) > 2 * _LOG_MAX else kept
        return self._stream.write(text)

    def __getattr__(self, name):
        return getattr(self._stream, name)

    @staticmethod
    def take():
        kept, _Printed.kept = _Printed.kept, ""
        return ',"log":%s' % json.dumps(kept[-_LOG_MAX:]) if kept else ""


class Sent:
    """A result that is ready to travel: JSON text, and the blobs it refers to as pairs of SHA-256 and bytes."""

    def __init__(self, text, blobs=()):
        self.text = text
        self.blobs = blobs


# Where blobs of arguments are, and those of results are left; set with the context.
blob_folder = None


def main():
    """Runs the context that comes first at the socket, and then its calls, until the socket is closed."""
    # A batch system signals the whole process group. The worker decides what is still finished.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        os.set_inheritable(_FD, False)
        incoming, outgoing = os.fdopen(_FD, "rb"), os.fdopen(os.dup(_FD), "wb")
    except OSError:
        sys.exit("there is no socket at file descriptor %d: a worker starts this program, not a user" % _FD)

    if len(sys.argv) > 1:
        # The folder of the environment's programs.
        os.environ["PATH"] = os.pathsep.join([sys.argv.pop(1), os.environ.get("PATH", os.defpath)])

    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.reconfigure(line_buffering=True)
        setattr(sys, name, _Printed(stream))

    def send(text):
        outgoing.write(text.encode() + b"\n")

    try:
        functions = _set_up(**json.loads(incoming.readline()))
    except BaseException as error:  # pylint: disable=broad-except
        send(_failure(error))
        return outgoing.flush()
    send('{"value":null}')
    outgoing.flush()
    _Printed.take()

    def send_at_once(text):
        send(text)
        outgoing.flush()

    variables.report_to(send_at_once)
    for line in incoming:
        call = json.loads(line)
        for outcome in _run(functions[call["function"]], call["inputs"], call["batch"]):
            send(outcome)
        outgoing.flush()


def _set_up(file, call, args, functions, bundles, blobs):
    global blob_folder  # pylint: disable=global-statement
    blob_folder = blobs
    variables.keep(None if call is None else {}, bundles)
    module = _import(file)
    found = {name: _find(module, function) for name, function in functions.items()}
    made = None if call is None else _find(module, call)(*args)
    if made is not None and not isinstance(made, dict):
        kind = type(made).__name__
        raise TypeError("%s returned a %s: return a dict of variables, such as {'model': model}" % (call, kind))
    if made is not None:
        variables.keep(made, bundles)
    return found


def _import(path):
    # As if Python had been started with it; this file's own folder stays, for processes that the user's code starts.
    sys.path.append(sys.path[0])
    sys.path[0] = os.path.dirname(path)
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _find(module, name):
    found = getattr(module, name, None)
    if callable(found):
        return found
    known = [name for name, value in vars(module).items() if callable(value) and name[0] != "_"]
    file = os.path.basename(module.__file__)
    raise BundleError('%s has no function "%s"; it has %s' % (file, name, ", ".join(known) or "none"))


def _run(function, inputs, batch):
    """Calls a function with each input, or with all at once. Yields one line for each."""
    if not batch:
        for value in inputs:
            yield _outcome(lambda: function(value))
        return
    try:
        values = function(inputs)
        if not isinstance(values, (list, tuple)) or len(values) != len(inputs):
            got = "%d results" % len(values) if isinstance(values, (list, tuple)) else "no list"
            raise ResultError(
                "a batch of %d inputs gave %s: return a list with one result for each" % (len(inputs), got)
            )
    except BaseException as error:  # pylint: disable=broad-except
        yield from [_failure(error, _Printed.take())] * len(inputs)
        return
    log = _Printed.take()
    for value in values:
        yield _outcome(lambda: value, log)


def _outcome(make, log=""):
    try:
        value = make()
        text = _encode(value)
    # Also sys.exit() and the like end a call, not the process with what it has loaded.
    except BaseException as error:  # pylint: disable=broad-except
        return _failure(error, log or _Printed.take())
    blobs = getattr(value, "blobs", None) if isinstance(value, Sent) else None
    if blobs:
        text += ',"blobs":%s' % json.dumps([{"sha256": sha256, "bytes": size} for sha256, size in blobs])
    return '{"value":%s%s}' % (text, log or _Printed.take())


def _encode(value):
    if isinstance(value, Sent):
        return value.text
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError("the function returned what is not JSON: %s" % error) from None
    if len(text) > _VALUE_MAX:
        raise ResultError("the result takes %d bytes of JSON, more than %d: return less" % (len(text), _VALUE_MAX))
    return text


def _failure(error, log=""):
    """What was raised, as the user will see it: without the frames of this file and of the import system."""
    described = _describe(error, _DEPTH_MAX)
    original = getattr(error, ORIGINAL, None)
    if isinstance(original, str) and len(original) <= _STACK_MAX:
        described["original"] = original
    return '{"error":%s%s}' % (json.dumps(described), log)


def _describe(error, depth):
    frames = error.__traceback__
    while frames and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    stack = "".join(traceback.format_exception(type(error), error, frames))
    described = {"name": type(error).__name__, "message": _text_of(error)[:_STACK_MAX], "stack": stack[-_STACK_MAX:]}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause and depth > 0:
        described["cause"] = _describe(cause, depth - 1)
    grouped = getattr(error, "exceptions", None)
    if isinstance(grouped, tuple) and depth > 0:
        described["errors"] = [_describe(one, max(0, depth - 2)) for one in grouped[:_GROUP_MAX]]
    return described


def _text_of(error):
    try:
        return str(error)
    except Exception as another:  # pylint: disable=broad-except
        return "its text cannot be had: its __str__ raised %s" % type(another).__name__


def _is_ours(file):
    return file.startswith((_PACKAGE + os.sep, "<frozen importlib"))
