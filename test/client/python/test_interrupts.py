"""Programs that are interrupted, forked, or end too early, and functions that end in odd ways, on a real factory."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import unittest
import unittest.mock

import gleaner
import helpers

FOLDER = os.environ.get("GLEANER_TEST_FOLDER", "")


def wait_for(condition):
    while not condition():
        time.sleep(0.02)


def hang(started):
    """Goes on until there is a file: a call that is cancelled frees its worker only after a time of grace."""
    with open(started, "a", encoding="utf-8") as file:
        file.write("x")
    wait_for(lambda: os.path.exists(started + ".end"))


class Interrupts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.factory = gleaner.connect()

    @classmethod
    def tearDownClass(cls):
        cls.factory.close()

    def file(self, name):
        """The path of a file by which calls of `hang` say that they have begun; they end with the test."""
        path = os.path.join(FOLDER, name)
        self.addCleanup(lambda: open(path + ".end", "w", encoding="utf-8").close())
        return path

    def interrupt_once(self, path):
        """Has the main thread interrupted, as by Ctrl-C, when a file is there."""

        def wait():
            wait_for(lambda: os.path.exists(path))
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        self.addCleanup(thread.join)

    def test_map(self):
        """Ctrl-C in a map cancels all of its calls, the one that is waited for as well"""
        started = self.file("map-started")
        run = self.factory.function(hang)
        made, start_call = [], self.factory.start_call

        def start(*args):
            made.append(start_call(*args))
            return made[-1]

        self.factory.start_call = start
        self.addCleanup(delattr, self.factory, "start_call")
        self.interrupt_once(started)
        with self.assertRaises(KeyboardInterrupt):
            list(run.map([started] * 20))
        self.assertEqual([future.cancelled() for future in made], [True] * 20)
        self.doCleanups()
        self.assertEqual(self.factory.submit(len, "abc").result(), 3)

    def test_awaited(self):
        """an awaited call that asyncio cancels, or gives up after a time, is cancelled where it runs"""
        started = self.file("awaited-started")
        run = self.factory.function(hang, priority=1)

        async def main():
            future = run(started)

            async def wait():
                await future

            task = asyncio.ensure_future(wait())
            while not os.path.exists(started):
                await asyncio.sleep(0.02)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            late = run(started)
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(late, 0.1)
            return future, late

        futures = asyncio.run(main())
        self.assertEqual([future.cancelled() for future in futures], [True, True])
        job = futures[0]._session._job
        wait_for(lambda: [each["failed"] for each in self.factory.jobs() if each["id"] == job] == [2])

    def test_leaves(self):
        """a function that leaves by sys.exit() or the like fails its call alone: what is loaded stays, and so does the program"""
        log = os.path.join(FOLDER, "leaves-loads")
        leave = self.factory.function(helpers.leave, context=(helpers.load_base, [1, log]))
        raised = (("exit", gleaner.RemoteError, "SystemExit: 3"), ("interrupt", gleaner.RemoteError, "KeyboardInterrupt"))
        for how, kind, told in raised + (("untold", helpers.Untold, ""), ("poisoned", helpers.Poisoned, "do not touch")):
            for _ in range(3):
                with self.assertRaises(kind) as caught:
                    leave(how).result()
                self.assertFalse(caught.exception.remote.crashed)
                if told:
                    self.assertIn(told, str(caught.exception))
        with open(log, encoding="utf-8") as file:
            self.assertLessEqual(len(file.readlines()), 2)

    def test_huge(self):
        """arguments too large to travel are errors of their call, and others go on"""
        with unittest.mock.patch("gleaner.packing.values.BLOB_MAX", 1 << 20):
            with self.assertRaisesRegex(gleaner.InputError, "more than the 1 MiB that can travel"):
                self.factory.submit(len, bytearray((1 << 20) + 1)).result()
        many = [os.urandom(16) + bytes(128 << 10) for _ in range(20)]
        with unittest.mock.patch("gleaner.connection.session._BLOBS_MAX", 19):
            with self.assertRaisesRegex(gleaner.InputError, "too many large parts"):
                self.factory.submit(len, many).result()
        self.assertEqual(self.factory.submit(len, many).result(), 20)


class Programs(unittest.TestCase):
    def run_program(self, source):
        path = os.path.join(FOLDER, "interrupted.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
        done = subprocess.run([sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=100)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_fork(self):
        """a process that was forked off, and ends, leaves its parent's connection alone; it may connect anew itself"""
        source = """
import os, sys, time, gleaner
factory = gleaner.connect()
add = factory.function(lambda n: n + 1)
slow = factory.function(lambda: time.sleep(1) or "slow")
assert add(1).result() == 2
waiting = slow()
while not factory._transport._busy:
    time.sleep(0.001)
used = list(factory._transport._busy)
pid = os.fork()
if pid == 0:
    try:
        add(1)
    except gleaner.InputError as error:
        assert "connect anew" in str(error)
    with gleaner.connect() as own:
        assert own.submit(len, "abc").result() == 3
    sys.exit(0)
_, status = os.waitpid(pid, 0)
assert status == 0, status
assert used and all(connection.sock is not None for connection in used), "a connection broke"
print(waiting.result(), add(2).result())
"""
        self.assertEqual(self.run_program(source), "slow 3\n")

    def test_open_calls(self):
        """a program that ends with calls open ends at once, and its calls are given up"""
        source = """
import time, gleaner
factory = gleaner.connect()
hang = factory.function(lambda n: time.sleep(1))
futures = [hang(n) for n in range(1000)]
while futures[0].progress()["state"] != "running":
    time.sleep(0.02)
print(futures[0]._session._job)
"""
        number = int(self.run_program(source))
        with gleaner.connect() as factory:
            (job,) = [job for job in factory.jobs() if job["id"] == number] or [{"state": "cancelled"}]
            self.assertEqual(job["state"], "cancelled")
            self.assertEqual(factory.submit(len, "abc").result(), 3)
