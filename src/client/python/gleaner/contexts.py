"""Contexts that a program makes: a setup function with its arguments, bundles, and an environment to run in."""

import hashlib
import json
import os
import re

from .errors import InputError
from .packing import modules, values

CODE_BUNDLE = "gleaner.code"
ENVIRONMENT_BUNDLE = "gleaner.environment"
# A program that is edited makes another context each time: unused ones go after this long, milliseconds.
_KEEP_MS = 24 * 3_600_000
# How long the factory may take to make bundles of what it has, seconds.
_PACKING_S = 1_800
_FORMAT = 1

# What a library loads: it finds beside itself what `Context.files` puts there.
_FILE = """import json
import os

from gleaner.worker import calls
from gleaner.worker.calls import call

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def set_up():
    with open(os.path.join(_FOLDER, "setup.json"), encoding="utf-8") as file:
        return calls.set_up(_FOLDER, json.load(file))
"""


class Context:
    """What calls find loaded where they run: what `setup(*args, **kwargs)` returned, a dict, by `load_variable`.

    `bundles`: folders on the factory's machine that go along, by name. `environment`: what the calls run in: a tar file or a folder
    that has bin/python, brought to each node once; or the path of an interpreter that all nodes see. `folder`: the working folder of
    calls, where nodes have it. Immutable: the same contents make the same context.
    """

    def __init__(self, setup=None, args=(), kwargs=None, bundles=None, environment=None, parsl=False, folder=None):
        if setup is not None and not callable(setup):
            raise InputError("the context's setup is %r: give a function, or (function, [arguments])" % (setup,))
        self.setup = setup
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})
        self.bundles = {name: os.path.abspath(path) for name, path in (bundles or {}).items()}
        self.environment = environment and os.path.abspath(environment)
        self.parsl = parsl
        self.folder = folder
        self._pickle = None

    @staticmethod
    def of(given, bundles=None, environment=None, **more):
        """The context that a user names: None, a setup function, (function, [arguments], {…}), or a Context."""
        if isinstance(given, Context):
            if bundles or environment:
                raise InputError("a Context has its bundles and environment already: give them where it is made")
            return given
        if isinstance(given, (tuple, list)):
            if not 1 <= len(given) <= 3 or (len(given) > 1 and not isinstance(given[1], (tuple, list))):
                raise InputError("context=(function, [arguments], {keyword arguments}): the arguments are a list")
            return Context(*given, bundles=bundles, environment=environment, **more)
        return Context(given, bundles=bundles, environment=environment, **more)

    def setup_pickle(self):
        """The setup function and its arguments as a pickle, or None. Raises InputError for what cannot be pickled."""
        if self.setup is not None and self._pickle is None:
            try:
                self._pickle = values.dumps((unwrapped(self.setup), self.args, self.kwargs))
            except Exception as error:
                raise InputError("the context's setup cannot be pickled: %s" % error) from error
        return self._pickle


def unwrapped(function):
    """The function itself, of one that was given to a factory."""
    return getattr(function, "__gleaner_function__", function)


class Registration:
    """One context as the factory knows it: with the modules that its setup needs, which are in `modules`, by path."""

    def __init__(self, context):
        self.context = context
        setup = context.setup_pickle()
        with_main = setup is not None and values.cloudpickle() is None and b"__main__" in setup
        self.modules = modules.collect([setup], with_main) if setup else {}
        options = {
            "format": _FORMAT,
            "python": values.python_version(),
            "by_value": setup is not None and values.is_by_value(setup),
            "main": modules.MAIN if with_main else None,
            "parsl": context.parsl,
            "folder": context.folder,
        }
        self.files = {"modules/" + path: data for path, data in self.modules.items()}
        self.files["gleaner_context.py"] = _FILE.encode()
        self.files["setup.json"] = json.dumps(options, sort_keys=True).encode()
        if setup is not None:
            self.files["setup.pickle"] = setup
        package = values.cloudpickle()
        if package is not None:
            self.files.update(("packages/" + path, data) for path, data in modules.package_files(package).items())
        self.name = self._name()

    def _name(self):
        """Named after its contents, so that workers that hold it loaded serve the next program too."""
        digest = hashlib.sha256()
        for path, data in sorted(self.files.items()):
            digest.update(("%s %d " % (path, len(data))).encode() + data)
        context = self.context
        prints = {name: _print_of(path) for name, path in context.bundles.items()}
        environment = context.environment
        if environment and not _is_interpreter(environment):
            environment = [environment, _print_of(environment)]
        digest.update(json.dumps([prints, environment], sort_keys=True).encode())
        base = re.sub(r"[^A-Za-z0-9]+", "-", getattr(context.setup, "__name__", "")).strip("-") or "plain"
        return "python-%s-%s" % (base[:40], digest.hexdigest()[:16])

    def register(self, transport, blobs):
        """Sees to it that the factory knows it. Raises what the transport does."""
        known = transport.call("GET", "/v1/contexts")["contexts"]
        if any(each["name"] == self.name for each in known):
            return
        parts = {hashlib.sha256(data).hexdigest(): data for data in self.files.values() if data}
        blobs.put(parts)
        body = {
            "context": {
                "name": self.name,
                "library": "python",
                "bundles": self._bundles(),
                "setup": self._setup(),
                "functions": {"call": {"call": "call"}},
            },
            "files": {CODE_BUNDLE: [_entry(path, data) for path, data in sorted(self.files.items())]},
            "keepMs": _KEEP_MS,
        }
        transport.call("POST", "/v1/contexts/upload", json.dumps(body), timeout=_PACKING_S)

    def _bundles(self):
        bundles = dict(self.context.bundles)
        environment = self.context.environment
        if environment and not _is_interpreter(environment):
            bundles[ENVIRONMENT_BUNDLE] = environment
        return bundles

    def _setup(self):
        setup = {"bundle": CODE_BUNDLE, "file": "gleaner_context.py", "call": "set_up"}
        environment = self.context.environment
        if environment and _is_interpreter(environment):
            setup["python"] = {"path": environment}
        elif environment:
            setup["python"] = {"bundle": ENVIRONMENT_BUNDLE, "file": "bin/python"}
        else:
            setup["version"] = values.python_version()
        return setup


def _is_interpreter(path):
    """Whether an environment is given by its interpreter, on a filesystem that the nodes share, rather than to be brought there."""
    return os.path.basename(path).startswith("python") and (os.path.isfile(path) or not os.path.exists(path))


def _entry(path, data):
    entry = {"path": path}
    if data:
        entry["blob"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return entry


def _print_of(path):
    """What tells a file or folder from what it was before a change, without reading gigabytes."""
    try:
        if os.path.isfile(path):
            stat = os.stat(path)
            return [[path, stat.st_size, stat.st_mtime_ns]]
        found = []
        for folder, _, names in os.walk(path, onerror=_raise):
            for name in names:
                stat = os.stat(os.path.join(folder, name))
                found.append([os.path.join(folder, name), stat.st_size, stat.st_mtime_ns])
        return sorted(found)
    except OSError as error:
        raise InputError("%s cannot be read: %s" % (path, error.strerror)) from error


def _raise(error):
    raise error
