"""The result of a call, some day."""

import asyncio
import collections
import concurrent.futures
import threading

from .errors import DependencyError, ProtocolError, Remote, RemoteError, RemoteTraceback
from .packing import values


class Future(concurrent.futures.Future):
    """The result of a call, some day: a `concurrent.futures.Future` that can also be awaited, and given to other calls.

    Large results stay at the factory until they are asked for.
    """

    def __init__(self, factory):
        super().__init__()
        self._factory = factory
        self._session = None
        self._key = None
        self._decoding = threading.Lock()

    @property
    def id(self):
        """The call's key in its job; None until its arguments are known."""
        return self._key

    def progress(self):
        """Where the call is, as the manager has it now: a dict.

        `state`: "waiting" for its arguments, "queued", "running", "done", "failed" or "cancelled"; while it runs also `worker`,
        `node`, `ms`, `attempt`, and, if the function says so with report_progress, `done` and `total`.
        """
        if self.cancelled():
            return {"state": "cancelled"}
        if self.done():
            return {"state": "done" if concurrent.futures.Future.exception(self) is None else "failed"}
        if self._key is None:
            return {"state": "waiting"}
        heard = self._session.progress(self._key)
        return dict(heard, state="running" if "worker" in heard else "queued")

    def cancel(self):
        """Gives the call up, unless it has ended: it is not run if that can be helped, nor are calls that depend on it."""
        if not super().cancel():
            return False
        # Those that wait for several futures hear of it by this.
        try:
            self.set_running_or_notify_cancel()
        except RuntimeError:
            # It was cancelled before.
            return True
        if self._session is not None:
            self._session.give_up(self)
        return True

    def result(self, timeout=None):
        """The value, or raises what the function raised; `remote` of the exception says where. Also TimeoutError."""
        value = super().result(timeout)
        if type(value) is not _Arrived:
            return value
        with self._decoding:
            if type(self._result) is _Arrived:
                self._result = value.unpack(self._factory)
            return self._result

    def parcel(self):
        """The result as it travels, if it has large parts that were not brought here; for calls that take it."""
        value = self._result
        return value.parcel() if type(value) is _Arrived else None

    def arrive(self, row):
        """Takes in the result as the manager gives it."""
        if row["status"] == "done":
            outcome, how = _Arrived(row["value"], row.get("blobs")), self.set_result
        else:
            outcome, how = error_of(row), self.set_exception
        self.settle(how, outcome)

    def settle(self, how, outcome):
        """Sets a result or an exception, unless the future was cancelled meanwhile."""
        run_in_turn(lambda: self._settle(how, outcome))

    def _settle(self, how, outcome):
        try:
            how(outcome)
        except concurrent.futures.InvalidStateError:
            pass

    def __await__(self):
        return asyncio.wrap_future(self).__await__()


class _Arrived:
    """A result that came and was not looked at yet."""

    __slots__ = ("value", "blobs")

    def __init__(self, value, blobs):
        self.value = value
        self.blobs = blobs

    def parcel(self):
        if not self.blobs:
            return None
        return values.Parcel(values.to_json(self.value), {each["sha256"]: each["bytes"] for each in self.blobs})

    def unpack(self, factory):
        try:
            return values.unpack(self.value, factory.blobs.read)
        except (ImportError, AttributeError, KeyError, TypeError, values.pickle.UnpicklingError) as error:
            raise ProtocolError("the result of the call cannot be read here: %s" % error) from error


def error_of(row):
    """What a failed call raised: its own exception where it can be rebuilt here, with where it was raised as `remote`."""
    error = row.get("error") or {"name": "Error", "message": "the call failed"}
    remote = Remote(row)
    made = None
    if error.get("original"):
        try:
            made = values.unpack(error["original"], None)
        # What is rebuilt may do anything, such as to leave the process.
        except BaseException:  # pylint: disable=broad-except
            made = None
    # One that is no Exception, such as SystemExit, would end this program too.
    if not isinstance(made, Exception):
        made = RemoteError(error["name"], error["message"], remote)
    try:
        made.remote = remote
    except (AttributeError, TypeError):
        pass
    where = "\n".join(filter(None, [remote.node and "on node %s, worker %s:" % (remote.node, remote.worker), remote.traceback]))
    made.__cause__ = RemoteTraceback("\n" + (where or error["message"]))
    return made


class _Turns(threading.local):
    waiting = None


_turns = _Turns()


def run_in_turn(what):
    """Runs something at once, or after what runs in turn on this thread: long chains of calls need no deep stack."""
    if _turns.waiting is not None:
        _turns.waiting.append(what)
        return
    _turns.waiting = collections.deque([what])
    try:
        while _turns.waiting:
            _turns.waiting.popleft()()
    finally:
        _turns.waiting = None


def when_all_done(futures, ready):
    """Calls `ready` once all of these have ended."""
    left = len(futures)
    lock = threading.Lock()

    def one_ended(_):
        nonlocal left
        with lock:
            left -= 1
            is_last = left == 0
        if is_last:
            run_in_turn(ready)

    for future in futures:
        future.add_done_callback(one_ended)


def find_futures(arguments):
    """The futures among arguments, also in lists, tuples, sets and values of dicts right among them."""
    found = []
    for argument in arguments:
        if isinstance(argument, concurrent.futures.Future):
            found.append(argument)
        elif type(argument) in (list, tuple, set):
            found.extend(each for each in argument if isinstance(each, concurrent.futures.Future))
        elif type(argument) is dict:
            found.extend(each for each in argument.values() if isinstance(each, concurrent.futures.Future))
    return found


def replace_futures(arguments, factory):
    """Arguments with the results of the futures among them, or what stands for those that are large and at the factory.

    Raises DependencyError if one has failed.
    """
    made = []
    for argument in arguments:
        if isinstance(argument, concurrent.futures.Future):
            parcel = argument.parcel() if isinstance(argument, Future) and _is_of(argument, factory) else None
            made.append(parcel or _result(argument))
        elif type(argument) in (list, tuple, set):
            made.append(type(argument)(_resolved(each) for each in argument))
        elif type(argument) is dict:
            made.append({key: _resolved(each) for key, each in argument.items()})
        else:
            made.append(argument)
    return made


def _is_of(future, factory):
    return future._factory is factory and not future.cancelled() and concurrent.futures.Future.exception(future) is None


def _resolved(value):
    return _result(value) if isinstance(value, concurrent.futures.Future) else value


def _result(future):
    try:
        return future.result()
    except (Exception, concurrent.futures.CancelledError) as error:  # pylint: disable=broad-except
        name = type(error).__name__
        raise DependencyError("an argument failed: %s: %s" % (name, error or "the call was cancelled")) from error
