"""A factory's workers as an Executor of concurrent.futures."""

import concurrent.futures
import functools
import itertools
import threading

from .client import connect
from .contexts import Context, unwrapped


class Executor(concurrent.futures.Executor):
    """Runs calls on a factory's workers: for code that takes an Executor, such as Dask, asyncio's run_in_executor or joblib.

        with gleaner.Executor(context=(load_model, [path])) as executor:
            for label in executor.map(classify, texts, chunksize=32): …

    `factory`: as `connect` gives it; by default one is connected to, and closed in the end. `max_workers` is not a limit, for the
    factory decides how many workers there are: it tells code that asks how many calls to have under way at least. Other
    options are those of `factory.function`.
    """

    def __init__(self, context=None, bundles=None, environment=None, factory=None, max_workers=256, **options):
        self._own = factory is None
        self._factory = connect() if factory is None else factory
        self._max_workers = max_workers
        self._options = dict(options, context=Context.of(context, bundles, environment))
        self._lock = threading.Lock()
        self._running = set()
        self._ended = False
        # Bad options are complained of here, not by the first call.
        self._factory.function(len, **self._options)

    def submit(self, fn, *args, **kwargs):  # pylint: disable=arguments-differ
        """Calls a function on a worker. Returns a Future; raises RuntimeError after `shutdown`."""
        with self._lock:
            if self._ended:
                raise RuntimeError("cannot schedule new futures after shutdown")
        future = self._factory.start_call(unwrapped(fn), args, kwargs, self._options)
        with self._lock:
            self._running.add(future)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future):
        with self._lock:
            self._running.discard(future)

    def map(self, fn, *iterables, timeout=None, chunksize=1, **kwargs):  # pylint: disable=arguments-differ
        """Calls a function with each item; yields the values in their order. `chunksize` items are one call."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, **kwargs)
        chunks = super().map(functools.partial(_run_chunk, unwrapped(fn)), _chunks(zip(*iterables), chunksize), timeout=timeout, **kwargs)
        return itertools.chain.from_iterable(chunks)

    def shutdown(self, wait=True, *, cancel_futures=False):  # pylint: disable=arguments-differ
        """Takes no more calls; waits for those there are, or cancels them with `cancel_futures`."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        if cancel_futures:
            for future in running:
                future.cancel()
        if wait:
            concurrent.futures.wait(running)
        if self._own and (wait or not running):
            self._factory.close()
        elif self._own:
            threading.Thread(target=self._close_later, args=(running,), daemon=True).start()

    def _close_later(self, running):
        concurrent.futures.wait(running)
        self._factory.close()


def _chunks(items, size):
    while True:
        chunk = list(itertools.islice(items, size))
        if not chunk:
            return
        yield chunk


def _run_chunk(function, chunk):
    return [function(*each) for each in chunk]
