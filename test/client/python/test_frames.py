"""Frames of pandas through contexts by name, Dask on an executor, and NumPy, on a real factory with the context `words`."""

import unittest

import gleaner
import numpy
import pandas


class Frames(unittest.TestCase):
    def setUp(self):
        self.factory = gleaner.connect()
        self.addCleanup(self.factory.close)

    def test_pandas(self):
        """a pandas frame gives a frame with columns for the results, and what is missing in it is null"""
        frame = pandas.DataFrame({"word": ["a", "b", "c"], "ms": [1, 2, 3], "log": [None, numpy.nan, None]}, index=[5, 6, 7])
        made = self.factory.run(frame, context="words", errors="return")
        self.assertEqual(list(made["result"]), ["A", "B", "C"])
        self.assertEqual((list(made.index), list(made.columns)), ([5, 6, 7], ["word", "ms", "log", "result"]))

    def test_numpy(self):
        """NumPy arrays travel both ways, can be written to, and keep their NaN"""
        double = self.factory.function(lambda array: array * 2)
        for size in (10, 1 << 20):
            array = numpy.arange(size, dtype=float)
            array[0] = numpy.nan
            made = double(array).result()
            numpy.testing.assert_array_equal(made, array * 2)
            made[1] = 0

    def test_dask(self):
        """Dask runs its graphs on an executor, which is an ordinary one"""
        import dask
        import dask.array

        with gleaner.Executor(factory=self.factory) as executor, dask.config.set(scheduler=executor):
            array = dask.array.arange(10_000, chunks=500)
            self.assertEqual(int((array**2).sum().compute()), sum(i * i for i in range(10_000)))
            total = dask.delayed(sum)([dask.delayed(pow)(i, 2) for i in range(100)])
            self.assertEqual(total.compute(), sum(i * i for i in range(100)))
