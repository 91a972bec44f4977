"""On workers: `from parsl import load_variable_from_serverless`, the name under which Parsl programs ask for variables.

A node need not have Parsl for it; where it has, only that name is added.
"""

import importlib.abc
import importlib.machinery
import sys

from .variables import load_variable

NAME = "load_variable_from_serverless"


def install():
    """Has every import of `parsl` from here on find the name in it."""
    if "parsl" in sys.modules:
        setattr(sys.modules["parsl"], NAME, load_variable)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname != "parsl":
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if found is None:
            return importlib.machinery.ModuleSpec(fullname, _Loader(None))
        found.loader = _Loader(found.loader)
        return found


class _Loader(importlib.abc.Loader):
    """Loads what there is, or nothing, and adds the name."""

    def __init__(self, real):
        self._real = real

    def create_module(self, spec):
        return self._real.create_module(spec) if self._real else None

    def exec_module(self, module):
        if self._real:
            self._real.exec_module(module)
        setattr(module, NAME, load_variable)
