"""A program's end of a factory."""

import atexit
import json
import os
import threading
import uuid
import weakref

from . import contexts, functions
from . import rows as rows_module
from .connection.blobs import Blobs
from .connection.endpoint import Address, find_address, state_folder
from .connection.session import Session
from .connection.transport import Transport
from .errors import InputError

# Calls that only this start of the program can ask for: they need not be kept beyond it, nor run on for long when it was
# killed. While it waits for any it is heard of once a minute.
_OF_THIS_START = {"keepMs": 0, "abandonMs": 30 * 60_000}
_NAME_MAX = 80

_open = weakref.WeakSet()


def connect(state=None, url=None, token=None, ca=None, patience=300):
    """Connects to a factory. Asks it nothing yet, so it cannot fail.

    By its state folder: `state`, or `$GLEANER_STATE`, or `~/.gleaner`. Or by `url` and `token`, with `ca`, the text of its
    certificate, if it made that itself. `patience`: seconds to keep trying while it cannot be reached.

        with gleaner.connect() as factory:
            @factory.function(context=(load_model, ["/shared/model"]))
            def infer(prompts):
                return [load_variable("model").generate(prompt) for prompt in prompts]

            print(infer(["a claim"]).result())
    """
    if (url is None) != (token is None):
        raise InputError("give both url and token, or neither: then the factory is found by its state folder")
    if url is not None:
        address = Address(url, token, ca)
        return Factory(lambda lost: address, patience)
    folder = state_folder(state)
    return Factory(lambda lost: find_address(folder, lost), patience)


class Factory:
    """A factory, as `connect` gives it. May be used from any thread; closed by `close`, or at the end of a `with`."""

    def __init__(self, locate, patience):
        self._transport = Transport(locate, patience)
        self.blobs = Blobs(self._transport)
        self._calls = functions.Calls(self)
        self._lock = threading.Lock()
        self._sessions = {}
        self._pid = os.getpid()
        _open.add(self)

    # --- calls

    def function(self, function=None, **options):
        """Makes a function one that runs on the workers; a decorator, with options or without.

        `context`: a setup function, or (function, [arguments], {keyword arguments}), or a Context; it runs once in each library,
        and what it returns, a dict, is there by `load_variable`. `bundles`: folders that go along, by name, found there by
        `bundle_folder`. `environment`: what to run in. `retries`: how often a call whose function raised is tried again.
        `time_limit`: longest one call may run, seconds. `priority`: higher goes first. `job`: a name under which a program that is
        started again finds the calls of its last start.
        """
        if function is None:
            return lambda each: functions.RemoteFunction(self, each, options)
        return functions.RemoteFunction(self, function, options)

    def submit(self, function, *args, **kwargs):
        """Calls a function of any kind, without a context. Returns a Future."""
        return self.start_call(contexts.unwrapped(function), args, kwargs, {})

    def context(self, setup=None, args=(), kwargs=None, bundles=None, environment=None):
        """A context that several functions share: give it to each as `context=`."""
        return contexts.Context(setup, args, kwargs, bundles, environment)

    def run(self, rows, context, function=None, window=10_000, progress=None, errors="raise", **options):
        """Runs each row through a function of a context that the factory knows by name; returns the results in their order.

        `rows`: a list gives a list; a pandas or polars frame a frame with columns for the results; any other iterable, such as a
        generator, gives a generator, which reads no further than `window` rows ahead. A row is what JSON can hold, such as a dict;
        in frames what is missing is null. `function`: default is the context's first. `progress`: True shows a bar by tqdm, False
        does not; by default there is one at a terminal, where tqdm is installed. `errors`: "raise" raises what a row failed with,
        "return" puts the exception in the place of its result. `retries`, `time_limit`, `priority` as for `function`.

        Raises InputError for a row that is not JSON, JobStuckError if the context cannot be set up, ApiError if there is none.
        """
        if errors not in ("raise", "return"):
            raise InputError('errors=%r: give "raise" or "return"' % (errors,))
        unknown = set(options) - set(functions.JOB_OPTIONS)
        if unknown:
            raise InputError("there is no option %s" % ", ".join(sorted(unknown)))
        if not isinstance(window, int) or window < 1:
            raise InputError("window=%r: give a whole number from 1 on" % (window,))
        made = dict(_job_options(options), **_OF_THIS_START)
        results = rows_module.Rows(self._transport, context, function, made, window)
        library = rows_module.is_frame(rows)
        source = rows_module.rows_of(rows, library) if library else rows
        total = len(rows) if hasattr(rows, "__len__") else None
        ordered = self._in_order(results, source, rows_module.progress_bar(progress, total), errors)
        if library:
            return rows_module.frame_with(rows, library, list(ordered))
        return list(ordered) if isinstance(rows, (list, tuple)) else ordered

    @staticmethod
    def _in_order(results, source, bar, errors):
        early, turn = {}, 0
        try:
            for index, value in results.results(source):
                bar.update(1)
                if errors == "raise" and isinstance(value, Exception):
                    raise value
                early[index] = value
                while turn in early:
                    yield early.pop(turn)
                    turn += 1
        finally:
            bar.close()

    def start_call(self, function, args, kwargs, options):
        """Makes one call, with options as `function` takes them; for executors."""
        if self._pid != os.getpid():
            raise InputError("this connection belongs to the process that this one was forked from: connect anew")
        return self._calls.start(function, args, kwargs, options)

    def session_of(self, registration, options):
        """The session of the calls in a context with these options."""
        job, job_options = options.get("job"), _job_options(options)
        key = (registration.name, job, json.dumps(job_options, sort_keys=True) if job is None else None)
        with self._lock:
            session, known = self._sessions.get(key, (None, None))
            if session is not None:
                if known != job_options:
                    raise InputError(
                        'job "%s" has calls with other retries, time_limit or priority: name another job' % job
                    )
                return session
            if job is not None and len(job) > _NAME_MAX:
                raise InputError('the name of the job, "%s", is longer than %d characters' % (job, _NAME_MAX))
            session = Session(self._transport, self.blobs, self._opener(registration, job, job_options), job is not None)
            self._sessions[key] = (session, job_options)
            return session

    def _opener(self, registration, job, job_options):
        request = {
            "name": "%s@%s" % (job or "python-%s" % uuid.uuid4(), registration.name[-12:]),
            "context": registration.name,
            "function": "call",
            "options": job_options if job else dict(job_options, **_OF_THIS_START),
        }

        def open_job():
            registration.register(self._transport, self.blobs)
            return self._transport.call("POST", "/v1/jobs", json.dumps(request))["id"]

        return open_job

    # --- what there is

    def status(self):
        """What the factory does, as `factory status --json` has it: a dict."""
        return self._transport.call("GET", "/v1/status")

    def jobs(self):
        """The jobs that the factory knows: dicts."""
        return self._transport.call("GET", "/v1/jobs")["jobs"]

    def contexts(self):
        """The contexts that have a name: dicts."""
        return self._transport.call("GET", "/v1/contexts")["contexts"]

    def close(self):
        """Ends the connection: calls that have not ended are given up, but for those of named jobs, which go on without us."""
        if self._pid != os.getpid():
            # It is the business of the process that this one was forked from, whose locks may be taken here.
            return
        with self._lock:
            sessions, self._sessions = self._sessions, {}
        for (_, job, _), (session, _) in sessions.items():
            session.close(cancel=job is None)
        self.blobs.close()
        self._transport.close()
        _open.discard(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _job_options(options):
    made = {}
    retries, limit, priority = (options.get(name) for name in ("retries", "time_limit", "priority"))
    if retries is not None:
        made["retries"] = _whole("retries", retries, 0, 100)
    if limit is not None:
        if not isinstance(limit, (int, float)) or not 0 < limit <= 2**31 / 1000 - 1:
            raise InputError("time_limit=%r: give seconds, more than 0" % (limit,))
        made["timeLimitMs"] = max(1, round(limit * 1000))
    if priority is not None:
        made["priority"] = _whole("priority", priority, -1000, 1000)
    return made


def _whole(name, value, least, most):
    if not isinstance(value, int) or not least <= value <= most:
        raise InputError("%s=%r: give a whole number from %d to %d" % (name, value, least, most))
    return value


@atexit.register
def _close_all():
    for factory in list(_open):
        factory.close()
