"""Frames of polars through contexts by name, and bars of tqdm, on a real factory with the context `words`."""

import contextlib
import io
import unittest

import gleaner
import polars


class Frames(unittest.TestCase):
    def setUp(self):
        self.factory = gleaner.connect()
        self.addCleanup(self.factory.close)

    def test_polars(self):
        """a polars frame gives a frame with columns for the results, in its order, and what is missing in it is null"""
        words = ["w%d" % i for i in range(300)]
        frame = polars.DataFrame({"word": words, "ms": [i % 3 for i in range(300)], "log": [None, float("nan"), None] * 100})
        made = self.factory.run(frame, context="words", function="shout")
        self.assertIsInstance(made, polars.DataFrame)
        self.assertEqual(made.columns, ["word", "ms", "log", "result"])
        self.assertEqual(made["result"].to_list(), [word.upper() + "!" for word in words])
        self.assertTrue(made.select("word", "ms").equals(frame.select("word", "ms")))

    def test_errors(self):
        """a row of a polars frame that fails has its error in a column of its own"""
        made = self.factory.run(polars.DataFrame({"word": ["a", ""]}), context="words", function="shout", errors="return")
        self.assertEqual(made["result"].to_list(), ["A!", None])
        self.assertIsNone(made["error"][0])
        self.assertIn("there is no word to shout", made["error"][1])

    def test_empty(self):
        """a polars frame without rows gives one"""
        made = self.factory.run(polars.DataFrame({"word": []}), context="words")
        self.assertEqual((made.height, made.columns), (0, ["word"]))

    def test_progress(self):
        """a bar of tqdm shows how many of the rows have come, if one is wanted"""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            self.factory.run([{"word": "a"}] * 50, context="words", progress=True)
        self.assertIn("50/50", said.getvalue())
        with contextlib.redirect_stderr(io.StringIO()) as silent:
            self.factory.run([{"word": "a"}], context="words")
        self.assertEqual(silent.getvalue(), "")
