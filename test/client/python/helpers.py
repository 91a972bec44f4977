"""A module of the program's own, as test_calls uses it."""

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
    """Cannot be made again from what pickle keeps of it."""

    def __init__(self, code, hint):
        super().__init__("%s %s" % (code, hint))


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
        raise (Trouble(7, "lucky") if kind == "rebuilt" else Stubborn(7, "lucky")) from error


def read(name):
    with open(bundle_folder("data") + "/" + name, encoding="utf-8") as file:
        return file.read()
