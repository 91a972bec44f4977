"""No-op calls from Python: `calls.py HOW COUNT FOLDER` prints what it took, as a line of JSON; see ../python.ts."""

import concurrent.futures
import cProfile
import json
import os
import pstats
import stat
import sys
import time

# Calls before those that count, for each of the workers that must be there first: processes start, code is compiled.
WARM = 2_000
WORKERS = 2
ROUNDS = 3


def load():
    return {"loaded": True}


def same(number):
    return number


def measure(call, count, workers):
    """Makes calls, all at once, and waits for their results: several times, of which the middle one counts."""
    while workers() < WORKERS:
        make(call, WORKERS)
    make(call, WORKERS * WARM)
    rounds = sorted((make(call, count) for _ in range(ROUNDS)), key=lambda each: each["calls_per_s"])
    return dict(rounds[ROUNDS // 2], rounds=[each["calls_per_s"] for each in rounds])


def make(call, count):
    started = time.perf_counter()
    futures = [call(i) for i in range(count)]
    submitted = time.perf_counter()
    total = sum(future.result() for future in futures)
    ended = time.perf_counter()
    if total != count * (count - 1) // 2:
        sys.exit("a result is wrong")
    return {"calls_per_s": round(count / (ended - started)), "submitted_per_s": round(count / (submitted - started))}


def measure_client(count):
    import gleaner

    with gleaner.connect() as factory:
        return measure(factory.function(same, context=(load, [])), count, lambda: len(factory.status()["workers"]))


def measure_parsl(executor, count, folder, profiled=False):
    import parsl
    from parsl.config import Config

    with parsl.load(Config(executors=[executor], run_dir=os.path.join(folder, "runinfo"), strategy="none", initialize_logging=False)):
        app = parsl.python_app(same)
        workers = lambda: getattr(executor, "connected_workers", WORKERS)
        if not profiled:
            return measure(app, count, workers)
        profile = cProfile.Profile()
        found = profile.runcall(make, app, count)
    return dict(found, submit_ms=shares(profile))


def shares(profile):
    """Where the time of the submitting thread goes, by package, per call, milliseconds."""
    sums = {"gleaner": 0.0, "parsl": 0.0, "other": 0.0}
    calls = 0
    for (file, _, name), (_, count, own, _, _) in pstats.Stats(profile).stats.items():
        package = next((each for each in sums if "/%s/" % each in file), "other")
        sums[package] += own
        if name == "submit" and file.endswith("dflow.py"):
            calls = count
    return {package: round(seconds * 1000 / max(1, calls), 3) for package, seconds in sums.items()}


def htex(folder):
    """Parsl's own executor with two workers. Its programs are modules of the package, which Debian gives no commands."""
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    programs = os.path.join(folder, "bin")
    os.makedirs(programs, exist_ok=True)
    for name in ("interchange", "process_worker_pool"):
        path = os.path.join(programs, name + ".py")
        with open(path, "w", encoding="utf-8") as file:
            file.write('#!/bin/sh\nexec python3 -m parsl.executors.high_throughput.%s "$@"\n' % name)
        os.chmod(path, stat.S_IRWXU)
    os.environ["PATH"] = programs + os.pathsep + os.environ["PATH"]
    provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
    return HighThroughputExecutor(
        label="htex", max_workers_per_node=2, address="127.0.0.1", provider=provider, encrypted=False
    )


def none():
    """An executor that has the result at once: what remains is Parsl's own."""
    from parsl.executors.base import ParslExecutor

    class Nothing(ParslExecutor):
        label = "nothing"

        def start(self):
            pass

        def submit(self, func, resource_specification, *args, **kwargs):
            future = concurrent.futures.Future()
            future.set_result(func(*args, **kwargs))
            return future

        def shutdown(self):
            pass

        def monitor_resources(self):
            return False

    return Nothing()


def main(how, count, folder):
    if how == "gleaner":
        return measure_client(count)
    if how == "parsl_htex":
        return measure_parsl(htex(folder), count, folder)
    if how == "parsl_alone":
        return measure_parsl(none(), count, folder)
    from gleaner.parsl import GleanerExecutor

    return measure_parsl(GleanerExecutor(), count, folder, profiled=how == "profile")


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3])), flush=True)
