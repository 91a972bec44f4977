"""What of a program goes along with its functions, and when it has changed."""

import os
import pickle
import sys
import tempfile
import types
import unittest
import unittest.mock

import gleaner
from gleaner import contexts, functions
from gleaner.packing import modules, values
from gleaner.errors import InputError

FILES = {
    "outer.py": "import inner_package.part\nimport json, unittest\nfrom lazy_one import x",
    "inner_package/__init__.py": "",
    "inner_package/part.py": "def f():\n    import deep",
    "inner_package/data.txt": "data",
    "lazy_one.py": "x = 1",
    "deep.py": "this is no Python",
    "unused.py": "",
}


class Modules(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name
        for name, text in FILES.items():
            os.makedirs(os.path.dirname(os.path.join(self.folder, name)), exist_ok=True)
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        sys.path.append(self.folder)
        self.addCleanup(sys.path.remove, self.folder)

    def test_closure(self):
        """a program's modules go along with all that they import of its own, packages as a whole, and nothing else"""
        found = modules.collect([pickle.dumps(["outer"])], False)
        self.assertEqual(set(found), set(FILES) - {"unused.py"})
        self.assertEqual(found["lazy_one.py"], b"x = 1")

    def test_loaded(self):
        """all that a program has imported of its own may go along"""
        self.assertIn("test_program.py", modules.collect([], False, with_loaded=True))

    def test_installed(self):
        """modules of Python itself, installed packages and the package gleaner stay where they are"""
        self.assertEqual(modules.collect([pickle.dumps(["json", "gleaner", "unittest", "pip", "sys"])], False), {})

    def test_lazily(self):
        """a module that only the code of a function imports goes along, as it is when the function is called"""
        f = made("def f():\n    import lazy_one\n    return lazy_one.x")
        data = values.dumps(f)
        self.assertEqual(modules.collect([data], False, with_loaded=True)["lazy_one.py"], b"x = 1")
        with open(os.path.join(self.folder, "lazy_one.py"), "w", encoding="utf-8") as file:
            file.write("x = 2")
        self.assertEqual(modules.collect([data], False, with_loaded=True)["lazy_one.py"], b"x = 2")
        self.assertNotIn("lazy_one.py", modules.collect([values.dumps(made("def f(): pass"))], False, with_loaded=True))

    def test_many(self):
        """functions that are made anew for each call are looked through in a moment, however long the program is"""
        data = values.dumps(made("def f(a): return a + 1"))
        modules.collect([data], False, with_loaded=True)
        with unittest.mock.patch("os.lstat", side_effect=AssertionError("a path was resolved")):
            with unittest.mock.patch("pickletools.genops", side_effect=AssertionError("a pickle was taken apart")):
                modules.collect([data], False, with_loaded=True)

    def test_size(self):
        """a program whose modules are very large is told to make an environment of them"""
        most, modules._BYTES_MAX = modules._BYTES_MAX, 10
        try:
            with self.assertRaisesRegex(InputError, "environment="):
                modules.collect([pickle.dumps("outer")], False)
        finally:
            modules._BYTES_MAX = most


def made(source, **names):
    names["__name__"] = "__main__"
    exec(source, names)
    return names["f"]


class Signatures(unittest.TestCase):
    def test_globals(self):
        """a function is pickled anew once a global that it uses, or a function it calls uses, is another"""
        f = made("n = 1\ndef g(): return n\ndef f(): return g() + len([])")
        before = functions._signature(f)
        self.assertIsNotNone(before)
        self.assertEqual(functions._signature(f), before)
        f.__globals__["n"] = 2
        self.assertNotEqual(functions._signature(f), before)

    def test_mutable(self):
        """a function that uses what may change in place is pickled for each call"""
        self.assertIsNone(functions._signature(made("def f(): return things", things=[])))
        self.assertIsNone(functions._signature(made("def f(a=[]): return a")))
        self.assertIsNone(functions._signature(types.MethodType(made("def f(x): return x"), 1)))

    def test_modules(self):
        """a function of a module is what its module makes of it"""
        self.assertEqual(functions._signature(tempfile.mkdtemp), ())

    def test_options(self):
        """options are told apart by what is in them, also where they are made anew for each call"""
        one = functions.key_of({"context": [len, ["path"], {"a": 1}]})
        self.assertEqual(one, functions.key_of({"context": [len, ["path"], {"a": 1}]}))
        self.assertNotEqual(one, functions.key_of({"context": [len, ["path"], {"a": True}]}))


class Options(unittest.TestCase):
    def test_bad(self):
        """what is wrong with options is said where they are given"""
        factory = gleaner.connect(url="http://127.0.0.1:1", token="x" * 32, patience=0)
        with self.assertRaisesRegex(InputError, "no option walltime; there are context"):
            factory.function(len, walltime=1)
        with self.assertRaisesRegex(InputError, "5 is not a function"):
            factory.function(5)
        with self.assertRaisesRegex(InputError, "retries=-1: give a whole number from 0 to 100"):
            factory.function(len, retries=-1)("x")
        with self.assertRaisesRegex(InputError, "time_limit='1'"):
            factory.function(len, time_limit="1")("x")
        with self.assertRaisesRegex(InputError, "the arguments are a list"):
            factory.function(len, context=(dict, "path"))("x")
        with self.assertRaisesRegex(InputError, "context's setup is 'load'"):
            factory.function(len, context="load")("x")
        with self.assertRaisesRegex(InputError, "/absent cannot be read: No such file"):
            factory.function(len, bundles={"data": "/absent"})("x")
        with self.assertRaisesRegex(InputError, "both url and token"):
            gleaner.connect(url="http://127.0.0.1:1")
        factory.close()

    def test_unreachable(self):
        """a factory that does not run, or cannot be reached, is an error of the call that says what to do"""
        with tempfile.TemporaryDirectory() as folder:
            with gleaner.connect(state=folder) as factory:
                with self.assertRaisesRegex(gleaner.NotRunningError, 'start one with "factory start"'):
                    factory.function(len)("x").result(30)
            with open(os.path.join(folder, "endpoint.json"), "w", encoding="utf-8") as file:
                file.write("{}")
            with gleaner.connect(state=folder) as factory:
                with self.assertRaisesRegex(InputError, "endpoint.json is damaged"):
                    factory.status()
        with gleaner.connect(url="http://127.0.0.1:1", token="x" * 32, patience=0) as factory:
            with self.assertRaisesRegex(gleaner.UnreachableError, "http://127.0.0.1:1 cannot be reached"):
                factory.status()

    def test_names(self):
        """everything that the package offers is there, and nothing else"""
        self.assertTrue(all(getattr(gleaner, name) for name in gleaner.__all__))
        with self.assertRaisesRegex(AttributeError, "no attribute 'conect'"):
            gleaner.conect

    def test_context_names(self):
        """a context is named after its contents: arguments and code make another"""
        name = lambda *given: contexts.Registration(contexts.Context.of(given)).name
        self.assertEqual(name(len, ["a"]), name(len, ("a",)))
        self.assertNotEqual(name(len, ["a"]), name(len, ["b"]))
        self.assertTrue(name(len, ["a"]).startswith("python-len-"))
