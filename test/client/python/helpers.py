"""A module of the program's own, as test_calls uses it."""

import sys
import threading

from gleaner import bundle_folder, load_variable


class Trouble(Exception):
    """Made from other arguments than it is shown with, as many are."""

    def __init__(self, code, hint):
        super().__init__("trouble %d: %s" % (code, hint))
        self.code = code
        self.hint = hint

    def __reduce__(self):
        return (Trouble, (self.code, self.hint))


class Stubborn(Exception):
    """Cannot be made again by its own `__init__` from what pickle keeps of it."""

    def __init__(self, code, hint):
        super().__init__("%s %s" % (code, hint))
        self.hint = hint


class Holder(Exception):
    """Holds what cannot travel."""

    def __init__(self, hint):
        super().__init__(hint)
        self.lock = threading.Lock()


class Untold(Exception):
    """Has no text."""

    def __str__(self):
        raise ValueError("no text")


class Poisoned(Exception):
    """Ends the process in which it is made again."""

    def __reduce__(self):
        return (sys.exit, (3,))

    def __reduce_ex__(self, protocol):
        return self.__reduce__()


def load_base(base, log=None):
    if base == "bad":
        raise ValueError("no such base")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write("loaded\n")
    return {"base": base}


def add(number):
    return load_variable("base") + number


def fail(kind):
    try:
        raise KeyError("inner")
    except KeyError as error:
        made = {"rebuilt": lambda: Trouble(7, "lucky"), "stubborn": lambda: Stubborn(7, "lucky"), "odd": lambda: Holder("odd one")}
        raise made[kind]() from error


def leave(how):
    if how == "exit":
        sys.exit(3)
    raise {"interrupt": KeyboardInterrupt, "untold": Untold, "poisoned": lambda: Poisoned("do not touch")}[how]()


def read(name):
    with open(bundle_folder("data") + "/" + name, encoding="utf-8") as file:
        return file.read()
