"""One job as a program uses it: calls go in, results come out, each through one thread."""

import base64
import collections
import hashlib
import json
import threading

from ..errors import GleanerError, InputError, JobStuckError
from .transport import Closed

# Bounds on one request that adds tasks. Small enough that the manager's other callers need not wait for long.
_BATCH_TASKS = 2_000
_BATCH_BYTES = 4 << 20
# Bytes of calls that wait to be handed in; who makes more waits.
_WAITING_BYTES = 256 << 20
# One task's arguments as JSON text, bytes, and its blobs.
_VALUE_MAX = 8 << 20
_BLOBS_MAX = 1_000
# Results in one page, and how long the manager may hold it back, milliseconds.
_PAGE = 2_000
_WAIT_MS = 20_000
# Longest wait for a factory to hear that no more calls will come, seconds.
_CLOSE_S = 5


class Session:
    """The calls of one job.

    `open_job()` makes the job, or finds it, and returns its number; it is called when the first call is handed in. `named`: the
    program may be started again and finds its calls by their contents.
    """

    def __init__(self, transport, blobs, open_job, named):
        self._transport = transport
        self._blobs = blobs
        self._open_job = open_job
        self._named = named
        self._lock = threading.Lock()
        self._to_send = threading.Condition(self._lock)
        self._to_read = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._batch = collections.deque()
        self._bytes = 0
        self._waiting = {}
        # Results of calls that an earlier start of the program made, and this one has not made yet.
        self._early = {}
        self._unwanted = []
        self._turns = {}
        self._count = 0
        self._submitted = 0
        self._job = None
        self._closed = False
        self._threads = []

    def submit(self, future, text, blobs, parts):
        """Hands in one call: its input as JSON text, its blobs' sizes by SHA-256, and the bytes of those that are made here.

        Raises InputError if the input is too long.
        """
        if len(text) > _VALUE_MAX or len(blobs) > _BLOBS_MAX:
            raise InputError("the arguments have too many large parts: give less, or put them into a file that workers see")
        size = len(text) + sum(map(len, parts.values()))
        with self._lock:
            while self._bytes > _WAITING_BYTES and not self._closed:
                self._room.wait()
            if self._closed:
                raise Closed("the connection to the factory was closed")
            key = self._key_of(text)
            future._session, future._key = self, key  # pylint: disable=protected-access
            row = self._early.pop(key, None)
            if row is None:
                self._waiting[key] = future
                self._batch.append((key, text, blobs, parts))
                self._bytes += size
                self._start()
                if len(self._batch) == 1:
                    self._to_send.notify()
        if row is not None:
            future.arrive(row)

    def _key_of(self, text):
        if not self._named:
            self._count += 1
            return str(self._count)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:18]).decode()
        turn = self._turns[digest] = self._turns.get(digest, 0) + 1
        return digest if turn == 1 else "%s.%d" % (digest, turn)

    def give_up(self, future):
        """Forgets a call that was cancelled."""
        with self._lock:
            if self._waiting.pop(future.id, None) is not None:
                self._unwanted.append(future.id)
                self._to_send.notify()

    def progress(self, key):
        """What the manager says of a call that has not ended."""
        if self._job is None:
            return {}
        body = json.dumps({"keys": [key]})
        tasks = self._transport.call("POST", "/v1/jobs/%d/tasks/progress" % self._job, body)["tasks"]
        return {name: value for name, value in tasks[0].items() if name != "key"} if tasks else {}

    def close(self, cancel):
        """Ends the session: with `cancel`, calls that have not ended are given up; otherwise the job goes on without us."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting, self._waiting = self._waiting, {}
            self._batch.clear()
            for condition in (self._to_send, self._to_read, self._room):
                condition.notify_all()
            job = self._job
        self._fail(waiting, Closed("the connection to the factory was closed"))
        if job is None:
            return
        verb = "cancel" if cancel and waiting else "close"
        try:
            self._transport.call("POST", "/v1/jobs/%d/%s" % (job, verb), "{}", timeout=_CLOSE_S)
        except GleanerError:
            # A factory that is gone by now finds the job as it is when it comes back.
            pass

    def _start(self):
        if self._threads:
            return
        for run, name in ((self._send, "gleaner-send"), (self._read, "gleaner-read")):
            thread = threading.Thread(target=run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    # --- calls in

    def _send(self):
        while True:
            with self._lock:
                while not self._batch and not self._unwanted and not self._closed:
                    self._to_send.wait()
                if self._closed:
                    return
                tasks, parts = self._take()
                unwanted, self._unwanted = self._unwanted, []
            try:
                if self._job is None:
                    job = self._open_job()
                    with self._lock:
                        self._job = job
                        if self._closed:
                            return
                if tasks:
                    self._add(tasks, parts)
                    with self._lock:
                        self._submitted += len(tasks)
                        self._to_read.notify()
                if unwanted:
                    body = json.dumps({"keys": unwanted})
                    self._transport.call("POST", "/v1/jobs/%d/tasks/cancel" % self._job, body)
            except Exception as error:  # pylint: disable=broad-except
                with self._lock:
                    failed = {key: self._waiting.pop(key) for key, _, _ in tasks if key in self._waiting}
                self._fail(failed, error)

    def _take(self):
        """The next calls that are still wanted, no more than one request holds. Called with the lock held."""
        tasks, parts, size = [], {}, 0
        while self._batch and len(tasks) < _BATCH_TASKS and size < _BATCH_BYTES:
            key, text, blobs, own = self._batch.popleft()
            self._bytes -= len(text) + sum(map(len, own.values()))
            if key in self._waiting:
                tasks.append((key, text, blobs))
                parts.update(own)
                size += len(text)
        self._room.notify_all()
        return tasks, parts

    def _add(self, tasks, parts):
        body = '{"tasks":[%s]}' % ",".join(map(_task, tasks))
        path = "/v1/jobs/%d/tasks" % self._job
        if parts:
            self._blobs.put(parts)
        self._transport.call("POST", path, body)

    # --- results out

    def _read(self):
        cursor = 0
        while True:
            with self._lock:
                while not self._closed and not (self._waiting and self._submitted):
                    self._to_read.wait()
                if self._closed:
                    return
            try:
                path = "/v1/jobs/%d/results?after=%d&limit=%d&waitMs=%d" % (self._job, cursor, _PAGE, _WAIT_MS)
                page = self._transport.call("GET", path, timeout=_WAIT_MS / 1000 + 30)
                rows, job = page["results"], page["job"]
                if rows:
                    cursor = rows[-1]["cursor"]
                    self._arrive(rows)
                elif job["state"] == "cancelled":
                    raise GleanerError("job %s was cancelled" % job["name"])
                elif "problem" in job:
                    raise JobStuckError("job %s: %s" % (job["name"], job["problem"]))
            except Exception as error:  # pylint: disable=broad-except
                with self._lock:
                    waiting, self._waiting = self._waiting, {}
                    # What was not handed in yet will be; the manager says then what it thinks of it.
                    for key, *_ in self._batch:
                        if key in waiting:
                            self._waiting[key] = waiting.pop(key)
                    self._submitted = 0
                self._fail(waiting, error)

    def _arrive(self, rows):
        arrived = []
        with self._lock:
            for row in rows:
                future = self._waiting.pop(row["key"], None)
                if future is not None:
                    arrived.append((future, row))
                elif self._named:
                    self._early[row["key"]] = row
        for future, row in arrived:
            future.arrive(row)

    @staticmethod
    def _fail(waiting, error):
        for future in waiting.values():
            future.settle(future.set_exception, error)


def _task(task):
    key, text, blobs = task
    more = ""
    if blobs:
        more = ',"blobs":[%s]' % ",".join('{"sha256":"%s","bytes":%d}' % blob for blob in blobs.items())
    return '{"key":"%s","input":%s%s}' % (key, text, more)
