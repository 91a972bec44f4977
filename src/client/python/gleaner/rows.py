"""Rows through a function of a context that the factory knows by name: lists, generators and frames in, the same out."""

import collections
import json
import math
import re
import uuid

from .errors import GleanerError, InputError, JobStuckError, RemoteError, Remote

# Bounds on one request that adds tasks, and results in one page; how long the manager may hold that back, milliseconds.
_BATCH_TASKS = 1_000
_BATCH_BYTES = 4 << 20
_PAGE = 1_000
_WAIT_MS = 20_000
# Numbers that JSON carries as they are lie between this and its negative.
_EXACT = 2**53
_LONG = re.compile(r"\d{16}")


class Rows:
    """One run of rows through a function of a context; see `Factory.run`."""

    def __init__(self, transport, context, function, options, window):
        self._transport = transport
        self._context = context
        self._function = function
        self._options = options
        self._window = window
        self._job = None
        self._cursor = 0

    def results(self, rows):
        """Yields (index, value or exception) as they come; reads `rows` no further than the window ahead."""
        source = enumerate(rows)
        under_way = 0
        exhausted = False
        self._open()
        try:
            while under_way or not exhausted:
                while not exhausted and under_way < self._window:
                    batch = self._take(source, self._window - under_way)
                    exhausted = not batch
                    if batch:
                        self._post("tasks", '{"tasks":[%s]}' % ",".join(batch))
                        under_way += len(batch)
                if exhausted:
                    self._post("close", "{}")
                for each in self._page() if under_way else ():
                    under_way -= 1
                    yield each
        except BaseException:
            self._give_up()
            raise
        self._forget()

    def _open(self):
        request = {"name": "rows-%s" % uuid.uuid4(), "context": self._context, "options": self._options}
        if self._function is not None:
            request["function"] = self._function
        self._job = self._transport.call("POST", "/v1/jobs", json.dumps(request))["id"]

    @staticmethod
    def _take(source, most):
        batch, size = [], 0
        for index, row in source:
            batch.append('{"key":"%d","input":%s}' % (index, to_json(row, index)))
            size += len(batch[-1])
            if len(batch) >= min(most, _BATCH_TASKS) or size >= _BATCH_BYTES:
                break
        return batch

    def _page(self):
        path = "/v1/jobs/%d/results?after=%d&limit=%d&waitMs=%d" % (self._job, self._cursor, _PAGE, _WAIT_MS)
        page = self._transport.call("GET", path, timeout=_WAIT_MS / 1000 + 30)
        found = page["results"]
        if not found and page["job"]["state"] == "cancelled":
            raise GleanerError("job %s was cancelled" % page["job"]["name"])
        if not found and "problem" in page["job"]:
            raise JobStuckError("job %s: %s" % (page["job"]["name"], page["job"]["problem"]))
        for row in found:
            self._cursor = row["cursor"]
            yield int(row["key"]), row["value"] if row["status"] == "done" else _error(row)

    def _post(self, verb, body):
        return self._transport.call("POST", "/v1/jobs/%d/%s" % (self._job, verb), body)

    def _give_up(self):
        try:
            self._post("cancel", "{}")
        except GleanerError:
            # It is given up all the same, only later.
            pass

    def _forget(self):
        try:
            self._post("forget", "{}")
        except GleanerError:
            pass


def _error(row):
    error = row.get("error") or {"name": "Error", "message": "the call failed"}
    return RemoteError(error["name"], error["message"], Remote(row))


def to_json(row, index):
    """A row as JSON text. Raises InputError that says which row, and what in it JSON has no word for."""
    try:
        text = json.dumps(row, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        hint = "NaN and infinity are none" if "Out of range float" in str(error) else str(error)
        raise InputError("row %d is not JSON, as inputs of contexts by name are: %s" % (index, hint)) from None
    # Only long runs of digits need a second look.
    if _LONG.search(text):
        _check_integers(row, index)
    return text


def _check_integers(value, index):
    if isinstance(value, int) and not -_EXACT <= value <= _EXACT:
        raise InputError(
            "row %d has the integer %d, which JSON's readers would round: give it as a text, or use factory.function" % (index, value)
        )
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            _check_integers(each, index)


def _plain(value):
    """NumPy's numbers and arrays as Python has them."""
    for name in ("tolist", "item"):
        method = getattr(value, name, None)
        if callable(method):
            return method()
    raise TypeError("it has a %s" % type(value).__name__)


def is_frame(rows):
    """Which library a frame is of, "pandas" or "polars", or None."""
    library = type(rows).__module__.partition(".")[0]
    return library if library in ("pandas", "polars") and hasattr(rows, "columns") else None


def rows_of(frame, library):
    """The rows of a frame as dicts; what is missing is None."""
    if library == "polars":
        for row in frame.iter_rows(named=True):
            yield {name: None if _is_nan(value) else value for name, value in row.items()}
        return
    names = [str(name) for name in frame.columns]
    missing = frame.isna().to_numpy()
    for position, row in enumerate(frame.itertuples(index=False, name=None)):
        yield {name: None if missing[position][i] else _stamp(value) for i, (name, value) in enumerate(zip(names, row))}


def _is_nan(value):
    return isinstance(value, float) and math.isnan(value)


def _stamp(value):
    return value.isoformat() if hasattr(value, "isoformat") else value


def frame_with(frame, library, results):
    """The frame with columns for what came of each row: the fields of results that are dicts, or else `result`; `error`."""
    columns = collections.OrderedDict()
    for position, result in enumerate(results):
        failed = isinstance(result, Exception)
        fields = result if isinstance(result, dict) else {"error": str(result)} if failed else {"result": result}
        for name, value in fields.items():
            columns.setdefault(name, [None] * len(results))[position] = value
    taken = set(map(str, frame.columns))
    renamed = {name: name if name not in taken else "result_" + name for name in columns}
    if library == "polars":
        import polars

        return frame.with_columns([polars.Series(renamed[name], values, strict=False) for name, values in columns.items()])
    return frame.assign(**{renamed[name]: values for name, values in columns.items()})


def progress_bar(wanted, total):
    """A bar of tqdm's, or what does nothing where that is not installed or not wanted."""
    if wanted is not False:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            if wanted:
                raise InputError("progress=True needs tqdm: pip install tqdm") from None
        else:
            return tqdm(total=total, unit="row", disable=None if wanted is None else False)
    return _NoBar()


class _NoBar:
    def update(self, count):
        """Does nothing."""

    def close(self):
        """Does nothing."""
