"""Errors of the client. Their messages are one line that says what to do next."""


class GleanerError(Exception):
    """Something the user can act on. `code`: stable, one of those that docs/errors.md explains."""

    code = "GLEANER_INTERNAL"


class InputError(GleanerError, ValueError):
    """What was given is wrong: a bad option, an unknown name, what cannot be pickled. Nothing was submitted for it."""

    code = "GLEANER_BAD_INPUT"


class NotRunningError(GleanerError):
    """No factory runs on this state folder."""

    code = "GLEANER_NOT_RUNNING"


class UnreachableError(GleanerError):
    """The manager could not be reached, or was too busy to answer, for as long as the client was told to keep trying."""

    code = "GLEANER_UNREACHABLE"


class ApiError(GleanerError):
    """The manager refused the request. `status`: of HTTP. `code`: the manager's, such as "GLEANER_NOT_FOUND"."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status = status
        self.code = code

    def __reduce__(self):
        return (ApiError, (self.status, self.code, str(self)))


class ProtocolError(GleanerError):
    """Something that is not a manager of this version answered, or a value came that cannot be read here."""

    code = "GLEANER_PROTOCOL"


class JobStuckError(GleanerError):
    """Nothing more of the job can run as things are, e.g. because its context cannot be set up."""

    code = "GLEANER_JOB_STUCK"


class DependencyError(GleanerError):
    """A call was not made, because one that it depends on failed: see `__cause__`."""

    code = "GLEANER_DEPENDENCY"


class RemoteError(GleanerError):
    """A call failed where it ran, and its exception cannot be rebuilt here; `remote` says more."""

    code = "GLEANER_REMOTE"

    def __init__(self, name, message, remote):
        super().__init__("%s: %s" % (name, message))
        self.name = name
        self.remote = remote

    def __reduce__(self):
        return (RemoteError, (self.name, str(self)[len(self.name) + 2 :], self.remote))


class Remote:
    """Where and how a call failed: the attribute `remote` of the exceptions of calls.

    `worker`, `node`: what it ran on. `task`: its key in its job. `traceback`: as it was there, a text. `log`: the end of what it
    printed. `crashed`: its process died or hung, as opposed to: its function raised. None where it is not known.
    """

    def __init__(self, row):
        error = row.get("error") or {}
        self.worker = row.get("worker")
        self.node = row.get("node")
        self.task = row.get("key")
        self.log = row.get("log")
        self.crashed = row.get("status") == "crash"
        self.traceback = error.get("stack")

    def __repr__(self):
        return "<call %s on worker %s, node %s>" % (self.task, self.worker, self.node)


class RemoteTraceback(Exception):
    """Stands for a traceback on a worker: the cause of an exception that came from there."""

    def __init__(self, text):
        super().__init__(text)

    def __str__(self):
        return self.args[0]
