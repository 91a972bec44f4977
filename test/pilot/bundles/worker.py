"""What a task may do to its library."""

import os
import signal
import time

_kept = []


def run(what):
    if what == "hang":
        time.sleep(600)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "grow":
        _kept.append(bytearray(b"x") * (400 << 20))
        return "grown"
    return os.getpid()
