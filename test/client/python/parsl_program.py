"""A Parsl program of the shape that users of serverless contexts write; only its configuration names Gleaner."""

import json
import os
import sys

import numpy
import parsl
from parsl import python_app
from parsl.config import Config

from gleaner.parsl import GleanerExecutor


def load_model(model_path):
    import numpy

    with open(model_path + ".loads", "a", encoding="utf-8") as file:
        file.write("loaded\n")
    return {"model": numpy.load(model_path)}


@python_app
def infer_model(inputs, parsl_spec):
    from parsl import load_variable_from_serverless

    model = load_variable_from_serverless("model")
    return [int((model @ each).argmax()) for each in inputs]


@python_app
def infer_by_keyword(inputs, parsl_resource_specification={}):
    from parsl import load_variable_from_serverless

    return int((load_variable_from_serverless("model") @ inputs).argmax())


@python_app
def plus_one(number):
    return number + 1


class Odd(Exception):
    def __init__(self, number):
        super().__init__(number)
        self.number = number


@python_app
def refuse(number):
    raise Odd(number)


def main(folder):
    model_path = os.path.join(folder, "model.npy")
    numpy.save(model_path, numpy.eye(8)[::-1])
    inputs = list(numpy.eye(8))
    parsl_spec = {"context": [load_model, [model_path], {}]}
    with parsl.load(Config(executors=[GleanerExecutor(poll=1)], run_dir=os.path.join(folder, "runinfo"), strategy="none")) as dfk:
        results = infer_model(inputs, parsl_spec).result()
        many = [infer_model(inputs[:2], parsl_spec=parsl_spec) for _ in range(200)]
        more = [infer_by_keyword(each, parsl_resource_specification=parsl_spec) for each in inputs]
        chain = plus_one(0)
        for _ in range(20):
            chain = plus_one(chain)
        error = refuse(7).exception()
        try:
            plus_one(1, parsl_resource_specification={"cores": 2}).result()
        except Exception as refused:
            refusal = str(refused)
        executor = dfk.executors["gleaner"]
        said = {
            "results": results,
            "many": [future.result() for future in many] == [results[:2]] * 200,
            "more": [future.result() for future in more],
            "chain": chain.result(),
            "error": [type(error).__name__, getattr(error, "number", None), bool(getattr(error, "remote", None))],
            "refusal": refusal,
            "workers": executor.connected_workers,
            "blocks": executor.connected_blocks,
            "status": sorted({status.state.name for status in executor.status().values()}),
            "outstanding": executor.outstanding,
        }
    with open(model_path + ".loads", encoding="utf-8") as file:
        said["loads"] = len(file.readlines())
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
