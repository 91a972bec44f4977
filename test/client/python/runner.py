"""Runs the unit tests of some files and prints how each came out, as a line of JSON; see run.ts."""

import importlib
import json
import os
import sys
import time
import traceback
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


class Result(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def say(self, test, error=None):
        name = getattr(test, "shortDescription", lambda: None)() or str(test)
        ms = (time.monotonic() - getattr(self, "started", time.monotonic())) * 1000
        print(json.dumps({"name": name, "ms": ms, "error": error}), file=sys.__stdout__, flush=True)

    def addSuccess(self, test):
        self.say(test)

    def addError(self, test, err):
        self.say(test, "".join(traceback.format_exception(*err)))

    addFailure = addError

    def addSkip(self, test, reason):
        self.say(test, "skipped: %s" % reason)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.say(subtest, "".join(traceback.format_exception(*err)))

    def addUnexpectedSuccess(self, test):
        self.say(test, "it was expected to fail")


if __name__ == "__main__":
    suite = unittest.TestSuite()
    for name in sys.argv[1:]:
        suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(name)))
    suite.run(Result())
