"""Rows through contexts by name, on a real factory with the context `words`; see test/end-to-end/factory-fixture.ts."""

import unittest

import gleaner
from gleaner import rows as rows_module



class Rows(unittest.TestCase):
    def setUp(self):
        self.factory = gleaner.connect()
        self.addCleanup(self.factory.close)

    def test_lists(self):
        """a list of rows gives a list of results in its order"""
        words = ["w%d" % i for i in range(500)]
        results = self.factory.run([{"word": word} for word in words], context="words", function="shout", window=100)
        self.assertEqual(results, [word.upper() + "!" for word in words])
        self.assertEqual(self.factory.run([], context="words"), [])

    def test_generators(self):
        """a generator of rows gives a generator, and is read no further than the window ahead"""
        read = []

        def rows():
            for i in range(200):
                read.append(i)
                yield {"word": str(i)}

        results = self.factory.run(rows(), context="words", function="shout", window=10)
        self.assertEqual(next(results), "0!")
        self.assertLess(len(read), 40)
        self.assertEqual(list(results), ["%d!" % i for i in range(1, 200)])

    def test_errors(self):
        """a row that fails raises, or gives its error in its place"""
        rows = [{"word": "a"}, {"word": ""}]
        with self.assertRaisesRegex(gleaner.RemoteError, "TypeError: there is no word to shout"):
            self.factory.run(rows, context="words", function="shout")
        good, bad = self.factory.run(rows, context="words", function="shout", errors="return")
        self.assertEqual((good, bad.name, bool(bad.remote.node)), ("A!", "TypeError", True))

    def test_bad(self):
        """what cannot run is said at once"""
        with self.assertRaisesRegex(gleaner.ApiError, 'no context "absent"'):
            self.factory.run([1], context="absent")
        with self.assertRaisesRegex(gleaner.ApiError, 'no function "whisper"; it has work, shout'):
            self.factory.run([1], context="words", function="whisper")
        with self.assertRaisesRegex(gleaner.InputError, "row 1 is not JSON.*NaN"):
            self.factory.run([1, float("nan")], context="words")
        with self.assertRaisesRegex(gleaner.InputError, "row 0 has the integer 9007199254740993"):
            self.factory.run([{"a": [2**53 + 1]}], context="words")
        with self.assertRaisesRegex(gleaner.InputError, "no option retry"):
            self.factory.run([1], context="words", retry=1)


class Plain(unittest.TestCase):
    def test_integers(self):
        """integers that JSON carries exactly are taken, however they are written"""
        self.assertEqual(rows_module.to_json({"a": 2**53, "b": "9" * 40}, 0), '{"a":9007199254740992,"b":"%s"}' % ("9" * 40))
