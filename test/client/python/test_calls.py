"""Calls of functions on a real factory, which $GLEANER_STATE names; $GLEANER_TEST_FOLDER is a folder for files."""

import asyncio
import concurrent.futures
import glob
import json
import math
import os
import subprocess
import sys
import tarfile
import threading
import time
import unittest

import gleaner
import helpers
from gleaner import load_variable, report_progress

# A worker, which imports this file too, has no such variable.
FOLDER = os.environ.get("GLEANER_TEST_FOLDER", "")


def wait_for(condition):
    while not condition():
        time.sleep(0.02)


class Calls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.factory = gleaner.connect()
        cls.add = staticmethod(cls.factory.function(helpers.add, context=(helpers.load_base, [100])))

    @classmethod
    def tearDownClass(cls):
        cls.factory.close()

    def test_context(self):
        """a function finds what its context's setup returned, loaded once, whatever number it is called with"""
        self.assertEqual(self.add(1).result(), 101)
        self.assertEqual(self.add(2**70).result(), 2**70 + 100)
        self.assertTrue(math.isnan(self.add(math.nan).result()))

    def test_many(self):
        """thousands of items are mapped in order, or as they come"""
        self.assertEqual(list(self.add.map(range(5000), window=500)), [100 + i for i in range(5000)])
        got = {each.index: each.value for each in self.add.map_unordered((i for i in range(3000)), window=100)}
        self.assertEqual(got, {i: 100 + i for i in range(3000)})
        self.assertEqual(list(self.factory.function(max).map([1, 5], [3, 2])), [3, 5])

    def test_shared_context(self):
        """functions that share a context find it loaded by each other"""
        log = os.path.join(FOLDER, "loads")
        context = self.factory.context(helpers.load_base, [5, log])
        double = self.factory.function(lambda: 2 * load_variable("base"), context=context)
        for _ in range(20):
            self.assertEqual(self.factory.function(helpers.add, context=context)(1).result(), 6)
            self.assertEqual(double().result(), 10)
        with open(log, encoding="utf-8") as file:
            self.assertLessEqual(len(file.readlines()), 2)

    def test_kinds(self):
        """lambdas, closures, methods, built-in and asynchronous functions all travel"""
        offset = 3
        submit = self.factory.submit

        async def wait(value):
            await asyncio.sleep(0.01)
            return value

        self.assertEqual(submit(lambda x: x + offset, 4).result(), 7)
        self.assertEqual(submit("a-b".split, "-").result(), ["a", "b"])
        self.assertEqual(submit(math.hypot, 3, 4).result(), 5)
        self.assertEqual(submit(wait, 8).result(), 8)
        self.assertEqual(submit(sorted, [1, 3, 2], reverse=True).result(), [3, 2, 1])

    def test_globals(self):
        """a function is what it is when it is called, though it was called before"""
        names = {"__name__": "__main__", "n": 1}
        exec("def f(): return n", names)
        f = self.factory.function(names["f"])
        self.assertEqual(f().result(), 1)
        names["n"] = 2
        self.assertEqual(f().result(), 2)

    def test_exceptions(self):
        """what a function raises arrives as itself where it can be rebuilt, and says where it was raised"""
        fail = self.factory.function(helpers.fail)
        with self.assertRaises(helpers.Trouble) as caught:
            fail("rebuilt").result()
        error = caught.exception
        self.assertEqual((error.code, error.hint), (7, "lucky"))
        self.assertTrue(error.remote.worker and error.remote.node)
        self.assertFalse(error.remote.crashed)
        self.assertIn("helpers.py", error.remote.traceback)
        self.assertIn("KeyError: 'inner'", str(error.__cause__))
        self.assertNotIn("calls.py", error.remote.traceback)
        with self.assertRaisesRegex(helpers.Stubborn, "7 lucky") as caught:
            fail("stubborn").result()
        self.assertEqual(caught.exception.hint, "lucky")
        with self.assertRaisesRegex(gleaner.RemoteError, "Holder: odd one") as caught:
            fail("odd").result()
        self.assertEqual(caught.exception.name, "Holder")
        self.assertIn("helpers.py", caught.exception.remote.traceback)

    def test_crash(self):
        """a function that ends its process is a crash of its call alone"""
        with self.assertRaises(gleaner.RemoteError) as caught:
            self.factory.submit(os._exit, 3).result()
        self.assertTrue(caught.exception.remote.crashed)
        self.assertEqual(self.factory.submit(len, "abc").result(), 3)

    def test_setup_fails(self):
        """a context whose setup raises fails its calls, with the reason"""
        bad = self.factory.function(helpers.add, context=(helpers.load_base, ["bad"]))
        with self.assertRaisesRegex(gleaner.JobStuckError, "cannot be set up: no such base"):
            bad(1).result()
        wrong = self.factory.function(helpers.add, context=(len, ["abc"]))
        with self.assertRaisesRegex(gleaner.JobStuckError, "len returned a int: return a dict of variables"):
            wrong(1).result()
        with self.assertRaisesRegex(LookupError, "no setup has run here"):
            self.factory.function(helpers.add)(1).result()

    def test_dependencies(self):
        """futures as arguments make dependencies, also inside of lists and dicts, and of other executors"""
        one, two = self.add(1), self.add(2)
        add_up = self.factory.function(lambda numbers, more, last: sum(numbers) + sum(more.values()) + last)
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            future = add_up([one, two, 3], {"a": self.add(3)}, threads.submit(lambda: 1000))
            self.assertEqual(future.result(), 101 + 102 + 3 + 103 + 1000)

    def test_graph(self):
        """a graph of a thousand calls that depend on each other comes to its end"""
        layer, expected = [self.add(i) for i in range(50)], [100 + i for i in range(50)]
        for _ in range(19):
            layer = [self.factory.submit(lambda a, b: (a + b) % 1000, layer[i], layer[i * 7 % 50 - 1]) for i in range(50)]
            expected = [(expected[i] + expected[i * 7 % 50 - 1]) % 1000 for i in range(50)]
        self.assertEqual([future.result() for future in layer], expected)

    def test_failed_dependency(self):
        """a call whose argument failed is not made, nor are a thousand that wait for it"""
        future = self.factory.function(helpers.fail)("rebuilt")
        for _ in range(1000):
            future = self.add(future)
        with self.assertRaisesRegex(gleaner.DependencyError, "an argument failed: DependencyError: an argument failed"):
            future.result()
        error = future.exception()
        while isinstance(error, gleaner.DependencyError):
            error = error.__cause__
        self.assertIsInstance(error, helpers.Trouble)

    def test_cancel(self):
        """a call that is cancelled frees those that wait for it, and does not run if that can be helped"""
        log = os.path.join(FOLDER, "cancelled")
        slow = self.factory.function(slowly)
        futures = [slow(log, i) for i in range(100)]
        wait_for(lambda: os.path.exists(log))
        after = self.add(futures[99])
        self.assertTrue(all(future.cancel() for future in futures if not future.done()))
        done, _ = concurrent.futures.wait(futures, timeout=60)
        self.assertEqual(len(done), 100)
        self.assertTrue(futures[99].cancelled())
        self.assertEqual(futures[99].progress(), {"state": "cancelled"})
        with self.assertRaisesRegex(gleaner.DependencyError, "CancelledError"):
            after.result()
        self.assertEqual(self.add(1).result(), 101)
        with open(log, encoding="utf-8") as file:
            self.assertLess(len(file.readlines()), 50)

    def test_progress(self):
        """a call says where it runs, and how far it is by its own account"""
        go_on = os.path.join(FOLDER, "go-on")
        future = self.factory.function(halfway)(go_on)
        self.assertIn(future.progress()["state"], ("queued", "running"))
        wait_for(lambda: future.progress().get("done") == 5)
        progress = future.progress()
        self.assertEqual((progress["state"], progress["total"]), ("running", 10))
        self.assertTrue(progress["worker"] and progress["node"])
        self.assertEqual(self.add(future).progress(), {"state": "waiting"})
        with open(go_on, "w", encoding="utf-8"):
            pass
        self.assertEqual(future.result(), "done")
        self.assertEqual(future.progress(), {"state": "done"})

    def test_large(self):
        """large values travel both ways, and from call to call without coming here"""
        size = self.factory.function(len)
        make = self.factory.function(lambda n: {"data": bytes(n), "text": "x" * n})
        data = bytes(3 << 20)
        self.assertEqual([f.result() for f in [size(data) for _ in range(20)]], [3 << 20] * 20)
        self.assertEqual(make(1 << 20).result(), {"data": bytes(1 << 20), "text": "x" * (1 << 20)})
        made = make(2 << 20)
        brought = []
        read, self.factory.blobs.read = self.factory.blobs.read, lambda *each: brought.append(each) or read(*each)
        try:
            self.assertEqual(self.factory.submit(lambda value: len(value["data"]), made).result(), 2 << 20)
            self.assertEqual(brought, [])
            self.assertEqual(len(made.result()["text"]), 2 << 20)
            self.assertEqual(len(brought), 2)
        finally:
            self.factory.blobs.read = read

    def test_await(self):
        """a call can be awaited, and mapped asynchronously"""

        async def run():
            results = [value async for value in self.add.amap(range(10))]
            return await self.add(5), results, await asyncio.gather(self.add(1), self.add(2))

        self.assertEqual(asyncio.run(run()), (105, [100 + i for i in range(10)], [101, 102]))

    def test_options(self):
        """retries and time limits are set call by call"""
        counter = os.path.join(FOLDER, "retries")
        third = self.factory.function(third_time, retries=2, priority=5)
        self.assertEqual(third(counter).result(), 3)
        with self.assertRaisesRegex(gleaner.RemoteError, "after 300 ms"):
            self.factory.function(time.sleep, time_limit=0.3)(600).result()

    def test_bundles(self):
        """folders go along as bundles"""
        folder = os.path.join(FOLDER, "data")
        os.makedirs(folder)
        with open(os.path.join(folder, "a.txt"), "w", encoding="utf-8") as file:
            file.write("from the bundle")
        read = self.factory.function(helpers.read, bundles={"data": folder})
        self.assertEqual(read("a.txt").result(), "from the bundle")
        with self.assertRaisesRegex(LookupError, 'no bundle "data"; there is none'):
            self.factory.function(helpers.read)("a.txt").result()

    def test_environment(self):
        """a virtual environment, packed with its links to the system's Python, is one that calls run in, and find its programs"""
        folder = os.path.join(FOLDER, "venv")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (packages,) = glob.glob(os.path.join(folder, "lib", "python*", "site-packages"))
        with open(os.path.join(packages, "only_there.py"), "w", encoding="utf-8") as file:
            file.write("NAME = 'packed'")
        program = os.path.join(folder, "bin", "only-there")
        with open(program, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\necho program")
        os.chmod(program, 0o755)
        with tarfile.open(folder + ".tar.gz", "w:gz") as archive:
            archive.add(folder, ".")

        def look():
            import only_there

            return only_there.NAME, subprocess.check_output(["only-there"])

        name = self.factory.function(look, environment=folder + ".tar.gz")
        self.assertEqual(name().result(), ("packed", b"program\n"))

    def test_bad_arguments(self):
        """what cannot be pickled is an error of its call, here or there"""
        with self.assertRaisesRegex(gleaner.InputError, "arguments of len cannot travel: .*lock"):
            self.factory.function(len)(threading.Lock()).result()
        with self.assertRaisesRegex(TypeError, "lock"):
            self.factory.submit(lambda: __import__("threading").Lock()).result()

    def test_threads(self):
        """one connection serves many threads"""
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            results = threads.map(lambda i: self.add(i).result(), range(200))
            self.assertEqual(list(results), [100 + i for i in range(200)])

    def test_url(self):
        """a factory's address and token do for a program that does not see its folder"""
        with open(os.path.join(os.environ["GLEANER_STATE"], "endpoint.json"), encoding="utf-8") as file:
            endpoint = json.load(file)
        with gleaner.connect(url=endpoint["url"], token=endpoint["token"]) as factory:
            self.assertEqual(factory.submit(len, "abcd").result(), 4)
        with gleaner.connect(url=endpoint["url"], token="x" * 43) as factory:
            with self.assertRaises(gleaner.ApiError) as caught:
                factory.submit(len, "abcd").result()
            self.assertEqual(caught.exception.status, 401)

    def test_nested(self):
        """a function that calls another of the factory's runs it where it is"""
        inner = self.factory.function(lambda n: n + 1)
        outer = self.factory.function(lambda n: inner(n).result() * 2)
        self.assertEqual(outer(4).result(), 10)


class Programs(unittest.TestCase):
    def run_program(self, source, *args, name="program.py", kill=None):
        path = os.path.join(FOLDER, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
        process = subprocess.Popen(
            [sys.executable, path, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
        )
        if kill is not None:
            wait_for(kill)
            process.kill()
        out, err = process.communicate()
        if kill is None:
            self.assertEqual(process.returncode, 0, err)
        return out

    SOURCE = """
import sys, time, gleaner
class Item:
    def __init__(self, n): self.n = n
def work(item, log):
    time.sleep(0.02)
    with open(log, "a") as file:
        file.write("%d\\n" % item.n)
    return Item(2 * item.n)
if __name__ == "__main__":
    with gleaner.connect() as factory:
        run = factory.function(work, job="resumed " + sys.argv[2])
        print(sum(future.result().n for future in [run(Item(i), sys.argv[1]) for i in range(200)]))
"""

    def resume(self, source, name):
        log = os.path.join(FOLDER, "log-" + name)

        def lines():
            try:
                with open(log, encoding="utf-8") as file:
                    return file.read().splitlines()
            except FileNotFoundError:
                return []

        self.run_program(source, log, name, kill=lambda: len(lines()) > 20)
        self.assertEqual(self.run_program(source, log, name).strip(), str(2 * sum(range(200))))
        self.assertEqual((len(lines()), len(set(lines()))), (200, 200))

    def test_resume(self):
        """a program that is killed and started again takes up its named job: no call that has ended runs again"""
        self.resume(self.SOURCE, "by value")

    def test_without_cloudpickle(self):
        """a program without cloudpickle calls functions and classes of its own file, which goes along"""
        self.resume("import sys\nsys.modules['cloudpickle'] = None\n" + self.SOURCE, "by module")

    def test_no_close(self):
        """a program that ends without closing its connection leaves its job finished"""
        source = "import gleaner\nf = gleaner.connect().function(len, job='short')\nprint(f('abc').result())"
        self.assertEqual(self.run_program(source), "3\n")
        with gleaner.connect() as factory:
            (job,) = [job for job in factory.jobs() if job["name"].startswith("short@")]
            self.assertEqual(job["state"], "finished")


def slowly(log, number):
    with open(log, "a", encoding="utf-8") as file:
        file.write("%d\n" % number)
    time.sleep(0.2)


def halfway(go_on):
    for done in range(6):
        report_progress(done, 10)
        time.sleep(0.6 if done == 4 else 0)
    while not os.path.exists(go_on):
        time.sleep(0.02)
    return "done"


def third_time(path):
    with open(path, "a", encoding="utf-8") as file:
        file.write("x")
    with open(path, encoding="utf-8") as file:
        count = len(file.read())
    if count < 3:
        raise RuntimeError("not yet")
    return count
