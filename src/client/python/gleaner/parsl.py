"""Parsl programs on a factory's workers: a Parsl executor, which the program's configuration names.

    from parsl.config import Config
    from gleaner.parsl import GleanerExecutor

    config = Config(executors=[GleanerExecutor()])

An app that is called with `parsl_resource_specification={'context': [load_model, [model_path], {}]}` (or has that as its argument
`parsl_spec`) finds what `load_model` returned by `load_variable_from_serverless`, which can be imported from parsl: the
context is loaded once in each worker's library, and apps that name the same one find it there.
"""

import datetime
import functools
import inspect
import os
import threading

import parsl
from parsl.app.errors import wrap_error
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.base import ParslExecutor
from parsl.executors.errors import BadStateException, InvalidResourceSpecification
from parsl.jobs.states import JobState, JobStatus
from parsl.monitoring.message_type import MessageType
from parsl.utils import RepresentationMixin

from .client import connect
from .contexts import Context
from .errors import GleanerError
from .functions import key_of
from .worker import serverless
from .worker.variables import load_variable

__all__ = ["GleanerExecutor", "load_variable_from_serverless"]

load_variable_from_serverless = load_variable
setattr(parsl, serverless.NAME, load_variable)


def _without_defaults_there_are_not(submit):
    """Parsl gives an app an argument `inputs`, `outputs`, … that is not named in a call the default of its function, also if there is
    none: then the class that stands for that arrives as the value. Here such an argument may be given by its position."""

    @functools.wraps(submit)
    def wrapped(self, func, app_args, *args, **kwargs):
        if "app_kwargs" in kwargs:
            named = kwargs["app_kwargs"].items()
            kwargs["app_kwargs"] = {name: value for name, value in named if value is not inspect.Parameter.empty}
        return submit(self, func, app_args, *args, **kwargs)

    return wrapped


DataFlowKernel.submit = _without_defaults_there_are_not(DataFlowKernel.submit)

# What Parsl puts around apps so that their exceptions travel. Ours do so by themselves, to nodes without Parsl too.
_CATCHER = wrap_error(len).__code__

# The argument by which an app may be given its specification, as the users of serverless contexts write it.
_ARGUMENT = "parsl_spec"
_KEYS = ("context", "bundles", "environment", "retries", "time_limit", "priority")


class GleanerExecutor(ParslExecutor, RepresentationMixin):
    """Runs Parsl's apps on the workers of a factory, whose sites decide how many blocks (pilots) there are.

    `label`: what it is called among a configuration's executors. `state`, or `url`, `token` and `ca`, or `factory`: which
    factory, as `gleaner.connect` takes it. `context`, `bundles`, `environment`, `retries`, `time_limit` (seconds) and
    `priority`: what holds for apps whose specification does not say otherwise; `retries` are in addition to Parsl's own.
    `patience`: apps fail with the site's reason when there has been no worker for so long though some are wanted, seconds.
    `poll`: how often the factory is asked how it is, seconds. `storage_access`, `working_dir`: as for Parsl's other executors.

    Apps run in the folder that the program runs in, on nodes that have it: bash apps leave their files where it looks for them.
    """

    # How apps report what they use, if Parsl monitors them.
    radio_mode = "htex"

    def __init__(
        self,
        label="gleaner",
        state=None,
        url=None,
        token=None,
        ca=None,
        factory=None,
        context=None,
        bundles=None,
        environment=None,
        retries=None,
        time_limit=None,
        priority=None,
        patience=600,
        poll=5,
        storage_access=None,
        working_dir=None,
    ):
        super().__init__()
        self.label = label
        self.state, self.url, self.token, self.ca = state, url, token, ca
        self.factory = factory
        self.context, self.bundles, self.environment = context, bundles, environment
        self.retries, self.time_limit, self.priority = retries, time_limit, priority
        self.patience = patience
        self.poll = poll
        self.storage_access = storage_access
        self.working_dir = working_dir
        self._folder = os.getcwd()
        self._factory = None
        self._lock = threading.Lock()
        self._running = set()
        self._options = {}
        self._arguments = {}
        self._status = {}
        self._workers = 0
        self._bad_state = None
        self._ended = threading.Event()

    def start(self):
        """Connects to the factory; raises NotRunningError if there is none."""
        super().start()
        self._factory = self.factory or connect(self.state, self.url, self.token, self.ca)
        self._look(self._factory.status())
        threading.Thread(target=self._watch, name="gleaner-parsl", daemon=True).start()

    def submit(self, func, resource_specification, *args, **kwargs):
        """Calls an app's function on a worker. Returns a Future; raises InvalidResourceSpecification."""
        if self._bad_state is not None:
            raise self._bad_state
        while getattr(func, "__code__", None) is _CATCHER:
            func = func.__wrapped__
        specification, args, kwargs = self._specification(func, resource_specification, args, kwargs)
        future = self._factory.start_call(func, args, kwargs, self._options_of(specification))
        with self._lock:
            self._running.add(future)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future):
        with self._lock:
            self._running.discard(future)

    def _specification(self, func, given, args, kwargs):
        """What the app is to run in, from either place, and its arguments without that."""
        given = dict(given or {})
        position = self._position_of(func)
        if position is not None:
            if _ARGUMENT in kwargs:
                given, kwargs = _merged(given, kwargs[_ARGUMENT]), dict(kwargs, **{_ARGUMENT: {}})
            elif position < len(args):
                given, args = _merged(given, args[position]), args[:position] + ({},) + args[position + 1 :]
        unknown = set(given) - set(_KEYS)
        if unknown:
            raise InvalidResourceSpecification(
                unknown, "There are %s. What a call has of a node is the factory's slot." % ", ".join(_KEYS)
            )
        return given, args, kwargs

    def _position_of(self, func):
        """Where among its arguments a function takes its specification, if it does."""
        code = getattr(inspect.unwrap(func), "__code__", None)
        if code not in self._arguments:
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code is not None else ()
            self._arguments[code] = names.index(_ARGUMENT) if _ARGUMENT in names else None
        return self._arguments[code]

    def _options_of(self, specification):
        key = key_of(specification)
        if key not in self._options:
            made = {name: specification.get(name, getattr(self, name)) for name in _KEYS}
            bundles, environment = made.pop("bundles"), made.pop("environment")
            context = made["context"]
            if not isinstance(context, Context):
                made["context"] = Context.of(context, bundles, environment, parsl=True, folder=self._folder)
            # With what the key stands for, which must live as long.
            self._options[key] = ({name: each for name, each in made.items() if each is not None}, specification)
        return self._options[key][0]

    def shutdown(self):
        """Gives up what has not ended, and closes the connection unless that was given."""
        self._ended.set()
        with self._lock:
            running = list(self._running)
        for future in running:
            future.cancel()
        if self._factory is not None and self._factory is not self.factory:
            self._factory.close()
        super().shutdown()

    def monitor_resources(self):
        """Parsl's monitor of resources starts a process for each app, in which there is no context: it is not used."""
        return False

    # --- what Parsl asks of executors with blocks of workers; here a block is a pilot

    @property
    def outstanding(self):
        """How many apps have not ended."""
        return len(self._running)

    @property
    def connected_workers(self):
        """How many workers there are."""
        return self._workers

    @property
    def connected_blocks(self):
        """How many pilots have a worker."""
        return sum(status.state == JobState.RUNNING for status in self._status.values())

    @property
    def bad_state_is_set(self):
        """Whether apps fail because there is no worker to be had."""
        return self._bad_state is not None

    @property
    def executor_exception(self):
        """Why, if so."""
        return self._bad_state

    def status(self):
        """The state of each pilot, as Parsl's JobStatus, by its name."""
        return dict(self._status)

    def _watch(self):
        waited = 0
        while not self._ended.wait(self.poll):
            try:
                status = self._factory.status()
            except GleanerError:
                # What is wrong is the answer to calls, too.
                continue
            reason = self._look(status)
            waited = waited + self.poll if self._running and not self._workers else 0
            if waited < self.patience:
                if self._workers:
                    self._bad_state = None
                continue
            self._bad_state = BadStateException(self, "no worker for %d s: %s" % (waited, reason))
            with self._lock:
                running = list(self._running)
            for future in running:
                future.settle(future.set_exception, self._bad_state)

    def _look(self, status):
        """Takes in what the factory says of itself. Returns why there are no workers, as far as its sites say."""
        found = {each["pilot"]: JobStatus(JobState.RUNNING) for each in status["workers"]}
        reasons = []
        for site in status["sites"]:
            said = [each["reason"] for each in site["reasons"]] + ([site["paused"]] if site.get("paused") else [])
            waiting = "%d wait, %d are held" % (site["pending"], site["held"])
            reasons.append("%s: %s" % (site["name"], "; ".join(said) or "of %d wanted, %s" % (site["wanted"], waiting)))
            for state, count in ((JobState.PENDING, site["pending"]), (JobState.HELD, site["held"])):
                for number in range(count):
                    name = "%s-%s-%d" % (site["name"], state.name.lower(), number + 1)
                    found[name] = JobStatus(state, "; ".join(said) or None)
        ended = {name: JobStatus(JobState.COMPLETED) for name in self._status if name not in found}
        changed = dict(ended)
        for name, each in found.items():
            if name not in self._status or self._status[name].state != each.state:
                changed[name] = each
        self._status, self._workers = found, len(status["workers"])
        if changed:
            self._tell_monitoring(changed)
        return "; ".join(reasons) or "the factory has no sites"

    def _tell_monitoring(self, changed):
        radio = getattr(self, "submit_monitoring_radio", None)
        if radio is None:
            return
        now = datetime.datetime.now()
        blocks = [
            {
                "run_id": self.run_id,
                "status": status.status_name,
                "timestamp": now,
                "executor_label": self.label,
                "job_id": name,
                "block_id": name,
            }
            for name, status in changed.items()
        ]
        radio.send((MessageType.BLOCK_INFO, blocks))


def _merged(given, argument):
    return dict(argument, **given) if isinstance(argument, dict) else given
