"""A factory's workers as an Executor of concurrent.futures, on a real factory."""

import asyncio
import concurrent.futures
import time
import unittest

import gleaner
import helpers


class Executors(unittest.TestCase):
    def test_contract(self):
        """an executor submits, maps in order with chunks, and takes nothing after its shutdown"""
        with gleaner.Executor(context=(helpers.load_base, [10])) as executor:
            self.assertIsInstance(executor, concurrent.futures.Executor)
            self.assertEqual(executor.submit(helpers.add, 1).result(), 11)
            self.assertEqual(list(executor.map(helpers.add, range(100), chunksize=9)), [10 + i for i in range(100)])
            self.assertEqual(list(executor.map(pow, [2, 3], [3, 2])), [8, 9])
            with self.assertRaises(helpers.Trouble):
                list(executor.map(helpers.fail, ["rebuilt"]))
            last = executor.submit(helpers.add, 2)
        self.assertEqual(last.result(), 12)
        with self.assertRaisesRegex(RuntimeError, "cannot schedule new futures after shutdown"):
            executor.submit(len, "")

    def test_cancel(self):
        """a shutdown that cancels leaves no future open"""
        executor = gleaner.Executor()
        futures = [executor.submit(time.sleep, 0.5) for _ in range(50)]
        executor.shutdown(wait=True, cancel_futures=True)
        self.assertTrue(all(future.done() for future in futures))
        self.assertTrue(futures[-1].cancelled())

    def test_no_wait(self):
        """a shutdown that does not wait lets what was submitted come to its end"""
        executor = gleaner.Executor()
        future = executor.submit(len, "abc")
        executor.shutdown(wait=False)
        self.assertEqual(future.result(60), 3)

    def test_asyncio(self):
        """asyncio runs functions on it as on any executor"""

        async def run(executor):
            loop = asyncio.get_running_loop()
            return await asyncio.gather(*[loop.run_in_executor(executor, len, "x" * i) for i in range(20)])

        with gleaner.Executor() as executor:
            self.assertEqual(asyncio.run(run(executor)), list(range(20)))
            done, waiting = concurrent.futures.wait([executor.submit(len, "ab")])
            self.assertEqual((len(done), len(waiting)), (1, 0))

    def test_options(self):
        """what is wrong with its options is said when it is made"""
        with self.assertRaisesRegex(gleaner.InputError, "no option walltime"):
            gleaner.Executor(walltime=1)
