"""A program's own modules, which go along with its functions: those that are not installed, found by what imports them."""

import ast
import functools
import os
import pickle
import pickletools
import re
import site
import sys
import sysconfig
import zlib

from ..errors import InputError

# What may go along with every context, files and bytes.
_FILES_MAX = 5_000
_BYTES_MAX = 128 << 20
# Names are looked for in pickles no longer than this, bytes: beyond it they are data.
_PICKLE_MAX = 4 << 20

# The main program by the name under which workers import it; as multiprocessing has it.
MAIN = "__mp_main__.py"


def collect(pickles, with_main, with_loaded=False):
    """The files of the program's own modules that these pickles name, with all of those that they import, by path.

    `with_main`: the main program is one of them, under the name MAIN. `with_loaded`: so is every one that is imported already.
    Raises InputError if they are too many, or if the main program is not a file.
    """
    found = {}
    available = _available()
    wanted = _loaded(available) if with_loaded else []
    for data in pickles:
        if len(data) <= _PICKLE_MAX and not (with_loaded and _names_only_loaded(data, available)):
            wanted += _names_in(data)
    if with_main:
        source = _main_source()
        found[MAIN] = source
        wanted += _imports_of(source)
    seen = set()
    while wanted:
        name = wanted.pop().partition(".")[0]
        if name in seen:
            continue
        seen.add(name)
        files = _files_as_imported(name, available)
        found.update(files)
        for path, data in files.items():
            if path.endswith(".py"):
                wanted += _imports_of(data)
    size = sum(map(len, found.values()))
    if len(found) > _FILES_MAX or size > _BYTES_MAX:
        raise InputError(
            "the program's own modules are %d files with %d MiB: install them into an environment and give that as environment="
            % (len(found), size >> 20)
        )
    return found


def archive(files):
    """Files by path as one text of bytes; equal files give equal bytes."""
    found = sorted(files.items())
    if _archived.get("files") != found:
        _archived.update(files=found, bytes=zlib.compress(pickle.dumps(found, 5), 1))
    return _archived["bytes"]


# The last archive: the next call's function most often needs the same modules.
_archived = {}
_seen = {}


def _files_as_imported(name, available):
    """The files of a top-level module. What was imported once stays as it was, also if the files change."""
    files = _seen[name] if name in _seen else _files_of(name, available)
    if name in sys.modules:
        _seen[name] = files
    return files


def _loaded(available):
    """The program's own top-level modules that are imported."""
    newest = (len(sys.modules), next(reversed(sys.modules)))
    if _own_loaded["newest"] != newest:
        names = {name.partition(".")[0] for name in list(sys.modules)}
        _own_loaded.update(newest=newest, names=[name for name in sorted(names) if _files_as_imported(name, available)])
    return list(_own_loaded["names"])


_own_loaded = {"newest": None, "names": []}


def _names_only_loaded(data, available):
    """Whether a pickle surely names no module of the program's own beyond those that are imported: told at a glance, for calls
    of functions that are made anew each time are many."""
    names = frozenset().union(*available.values()).difference(list(sys.modules))
    return not names or not _words_of(names).search(data)


@functools.lru_cache(16)
def _words_of(names):
    # In a pickle a text may follow right after its length, which may look like a letter. Code names the file that it is in.
    words = b"|".join(re.escape(name.encode()) for name in sorted(names))
    return re.compile(rb"(?:(?<![A-Za-z0-9_])|(?<=\x8c[\x00-\xff]))(?:%s)(?![A-Za-z0-9_]|\.py)" % words)


def package_files(module):
    """The files of an installed package, by path below the folder that it is in."""
    folder = os.path.dirname(module.__file__)
    return _walk(folder, os.path.basename(folder))


def _main_source():
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or not os.path.isfile(path):
        raise InputError(
            "functions that are typed in can travel only with cloudpickle: pip install cloudpickle, or put them into a file"
        )
    return _read(path)


def _names_in(data):
    """What in a pickle may be the name of a module."""
    return {
        name
        for _, argument, _ in pickletools.genops(data)
        if isinstance(argument, str)
        for name in (argument.split(" ")[0].partition(".")[0],)
        if name.isidentifier()
    }


@functools.lru_cache(4096)
def _imports_of(source):
    """The modules that a source imports, anywhere in it; those of its own package are there with it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
    return names


def _files_of(name, available):
    """The files of a top-level module by path, if it is the program's own."""
    if name in ("gleaner", "__main__", "cloudpickle"):
        return {}
    module = sys.modules.get(name)
    paths = list(getattr(module, "__path__", []))
    file = getattr(module, "__file__", None)
    if module is None:
        for folder in (folder for folder, names in available.items() if name in names):
            if os.path.isfile(os.path.join(folder, name, "__init__.py")):
                paths = [os.path.join(folder, name)]
                break
            if os.path.isfile(os.path.join(folder, name + ".py")):
                file = os.path.join(folder, name + ".py")
                break
    files = {}
    for path in filter(_is_own, paths):
        files.update(_walk(path, name))
    if not paths and file and file.endswith((".py", ".so")) and _is_own(file):
        files[os.path.basename(file)] = _read(file)
    return files


def _available():
    """Names of modules that may be in the folders where the program's own are looked for, by folder in their order."""
    found = {}
    for path in filter(_is_own, map(os.path.abspath, sys.path)):
        try:
            found[path] = _listed(path, os.stat(path).st_mtime_ns)
        except OSError:
            # It is not there, or not a folder.
            continue
    return found


@functools.lru_cache(64)
def _listed(folder, _changed):
    names = (name[:-3] if name.endswith(".py") else name for name in os.listdir(folder))
    return frozenset(filter(str.isidentifier, names))


@functools.lru_cache(16384)
def _is_own(path):
    """Whether a path is neither Python's nor an installed package's."""
    path = os.path.realpath(path)
    parts = path.split(os.sep)
    if "site-packages" in parts or "dist-packages" in parts:
        return False
    return not any(path == folder or path.startswith(folder + os.sep) for folder in _installed())


def _installed():
    if not _folders:
        names = ("stdlib", "platstdlib", "purelib", "platlib")
        own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        folders = [sysconfig.get_paths()[name] for name in names] + [site.getusersitepackages(), own]
        _folders.extend(os.path.realpath(folder) for folder in folders)
    return _folders


_folders = []


def _walk(folder, under):
    files = {}
    for path, names, here in os.walk(folder):
        names[:] = sorted(name for name in names if name != "__pycache__" and not name.startswith("."))
        below = os.path.relpath(path, folder)
        for name in sorted(here):
            if name.endswith((".pyc", ".pyo")) or name.startswith("."):
                continue
            target = "/".join([under] + ([] if below == "." else below.split(os.sep)) + [name])
            files[target] = _read(os.path.join(path, name))
            if len(files) > _FILES_MAX:
                return files
    return files


def _read(path):
    with open(path, "rb") as file:
        return file.read()
