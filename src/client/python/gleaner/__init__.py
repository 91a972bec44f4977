"""Gleaner's package for Python: calls of functions on a factory's workers, and what such functions find there.

In a program:

    import gleaner
    from gleaner import load_variable

    def load_model(path):
        return {"model": Model(path)}

    with gleaner.connect() as factory:
        @factory.function(context=(load_model, ["/shared/model"]))
        def infer(prompt):
            return load_variable("model").generate(prompt)

        print(infer("a claim").result())

Needs Python 3.8 and nothing but its standard library; with cloudpickle installed, functions of any kind travel.
"""

from .worker.variables import bundle_folder, load_variable, report_progress

__version__ = "0.1.0"

# Where each other name is: workers load contexts in a moment because they import none of them.
_NAMES = {
    "connect": "client",
    "Factory": "client",
    "Context": "contexts",
    "Executor": "executor",
    "Future": "futures",
    "Mapped": "functions",
    "RemoteFunction": "functions",
    "ApiError": "errors",
    "DependencyError": "errors",
    "GleanerError": "errors",
    "InputError": "errors",
    "JobStuckError": "errors",
    "NotRunningError": "errors",
    "ProtocolError": "errors",
    "RemoteError": "errors",
    "UnreachableError": "errors",
}

__all__ = ["bundle_folder", "load_variable", "report_progress", "__version__"] + list(_NAMES)


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError("module 'gleaner' has no attribute '%s'" % name)
    from importlib import import_module

    found = getattr(import_module("." + _NAMES[name], __name__), name)
    globals()[name] = found
    return found


def __dir__():
    return sorted(__all__)
