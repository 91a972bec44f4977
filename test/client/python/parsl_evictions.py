"""10,000 app calls of a Parsl program while the test that started it takes nodes away; says how far it is."""

import sys

import parsl
from parsl import python_app
from parsl.config import Config

from gleaner.parsl import GleanerExecutor

CALLS = 10_000


def load():
    return {"factor": 3}


@python_app
def triple(number, parsl_spec):
    import time

    from parsl import load_variable_from_serverless

    time.sleep(0.01)
    return number * load_variable_from_serverless("factor")


if __name__ == "__main__":
    spec = {"context": [load, [], {}]}
    with parsl.load(Config(executors=[GleanerExecutor()], run_dir=sys.argv[1], strategy="none")):
        futures = [triple(i, spec) for i in range(CALLS)]
        total = 0
        for i, future in enumerate(futures):
            total += future.result()
            if i % 500 == 0:
                print("at", i, flush=True)
        print("right" if total == 3 * sum(range(CALLS)) else "wrong", flush=True)
