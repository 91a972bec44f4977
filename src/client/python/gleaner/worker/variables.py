"""What the code of a context finds where it runs: its variables, its bundles, and a way to say how far a call is."""

import json
import time

# Seconds between two words of how far a call is.
_REPORT_EVERY = 0.5

_variables = None
_bundles = {}


def load_variable(name):
    """Returns a variable of the context: an entry of the dict that its setup function returned.

    Raises LookupError, which names the variables there are, if this is none of them.
    """
    if _variables is None:
        raise LookupError(
            'there is no variable "%s", because no setup has run here: give one as context=(setup_function, [arguments]), '
            "and call the function through the factory" % name
        )
    return _entry(_variables, name, "the context's setup returned no variable")


def bundle_folder(name):
    """Returns the folder, where this runs, of one of the context's bundles, by its name in the context.

    Raises LookupError, which names the bundles there are, if this is none of them.
    """
    return _entry(_bundles, name, "the context has no bundle")


def report_progress(done, total=None):
    """Says how far the call that runs is, in any unit; as often as one likes, since few of these words are sent.

    Outside of a worker it does nothing. Raises ValueError for what is not a number from 0 on.
    """
    for number in (done,) if total is None else (done, total):
        if not isinstance(number, (int, float)) or not 0 <= number < float("inf"):
            raise ValueError("progress is a number from 0 on, not %r" % (number,))
    _Progress.report(done, total)


class _Progress:
    """Where the words of how far a call is go; the library that runs it sets `send`."""

    send = None
    sent_at = float("-inf")

    @classmethod
    def report(cls, done, total):
        if cls.send is None or time.monotonic() - cls.sent_at < _REPORT_EVERY:
            return
        cls.sent_at = time.monotonic()
        cls.send(json.dumps({"progress": {"done": done} if total is None else {"done": done, "total": total}}))


def keep(variables, bundles):
    """Keeps what setup returned, or will have, and the folders of bundles; for the library that runs it."""
    global _variables  # pylint: disable=global-statement
    _bundles.update(bundles)
    _variables = variables


def report_to(send):
    """Has words of how far a call is go to `send`, as JSON texts."""
    _Progress.send = send


def _entry(entries, name, complaint):
    if name in entries:
        return entries[name]
    known = [str(key) for key in entries if not str(key).startswith("gleaner.")]
    raise LookupError('%s "%s"; there is %s' % (complaint, name, ", ".join(known) or "none"))
