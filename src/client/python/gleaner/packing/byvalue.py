"""Pickles by value: cloudpickle's, made the same each time a program is started.

A named job knows its calls by their contents, and a context is named after its own, so equal things must give equal pickles.
"""

import hashlib
import types

_found = []
_pickler = []
_names = {}


def cloudpickle():
    """The module, or None where it is not installed. Imported when it is first needed: it takes a moment."""
    if not _found:
        try:
            import cloudpickle as module
        except ImportError:
            module = None
        _found.append(module)
    return _found[0]


def pickler():
    """The class of picklers, or None without cloudpickle."""
    module = cloudpickle()
    if module is None:
        return None
    if not _pickler:
        trackers = getattr(getattr(module, "cloudpickle", None), "_DYNAMIC_CLASS_TRACKER_BY_CLASS", None)

        class Pickler(module.Pickler):
            def reducer_override(self, obj):
                # By its number a class that comes back is known to be the one that went. cloudpickle takes one at random.
                if isinstance(obj, type) and trackers is not None and obj not in trackers:
                    trackers[obj] = _number_of(obj)
                return super().reducer_override(obj)

        _pickler.append(Pickler)
    return _pickler[0]


def _number_of(cls):
    """A number that is the same each time a program is started, and another for another class."""
    text = repr([cls.__module__, cls.__qualname__, [base.__qualname__ for base in cls.__mro__], _print_of(vars(cls))])
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    turn = _names[digest] = _names.get(digest, -1) + 1
    return digest if turn == 0 else hashlib.sha256(("%s %d" % (digest, turn)).encode()).hexdigest()[:32]


def _print_of(value, depth=0):
    """What can be told of a value without where it is in memory."""
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None) or (value if isinstance(value, types.CodeType) else None)
    if depth > 8:
        return type(value).__name__
    if isinstance(code, types.CodeType):
        return [code.co_code.hex(), code.co_names, code.co_varnames, [_print_of(each, depth + 1) for each in code.co_consts]]
    if isinstance(value, (type(None), bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return [_print_of(each, depth + 1) for each in value]
    if isinstance(value, (dict, types.MappingProxyType)):
        return [[str(key), _print_of(each, depth + 1)] for key, each in value.items()]
    return type(value).__qualname__
