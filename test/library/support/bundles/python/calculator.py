"""A user's Python file, as tests call it."""

import asyncio
import os
import signal
import subprocess
import sys

from gleaner import bundle_folder, load_variable, report_progress
from parts.numbers import to_number


def open_calculator(base, loud=False):
    if not isinstance(base, (int, float)):
        raise TypeError("a calculator needs a number to start from, not %s" % base)
    if loud:
        print("opened at %s" % base)
    return {"base": base, "batches": []}


def open_nothing():
    return None


def open_list():
    return [1, 2]


def give_up():
    sys.exit(3)


def add(value):
    return load_variable("base") + to_number(value)


def add_all(values):
    load_variable("batches").append(len(values))
    return [add(value) for value in values]


def batches(_):
    return load_variable("batches")


def too_few(values):
    return values[1:]


def say(text):
    print(text)
    print("to the log", file=sys.stderr)
    if not text:
        raise ValueError("nothing to say")


def say_all(texts):
    for text in texts:
        print(text)
    return texts


def echo(value):
    return value


def is_there(name):
    return os.path.exists(os.path.join(bundle_folder("app"), name))


def unknown_variable(_):
    return load_variable("weights")


def no_json(kind):
    if kind == "nan":
        return float("nan")
    return {1, 2} if kind == "set" else asyncio.sleep


def large(size):
    return "x" * size


def leave(code):
    os._exit(code)


def kill(name):
    os.kill(os.getpid(), getattr(signal, name))


def run_child(_):
    code = "import os; print(os.path.exists('/proc/self/fd/3'))"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout.decode().strip()


def interpreter(_):
    return sys.executable


def hang(_):
    while True:
        signal.pause()


def count(total):
    for done in range(total + 1):
        report_progress(done, total)
    return total


def count_all(totals):
    report_progress(sum(totals))
    return totals


def divide(value):
    try:
        return 1 / value
    except ZeroDivisionError as error:
        raise ValueError("cannot divide by %s" % value) from error
