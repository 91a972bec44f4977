"""The same on Parsl's own HighThroughputExecutor. Its programs are modules of the package, which Debian gives no commands."""

import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench", "python"))

from calls import htex
from parsl.config import Config


def fresh_config():
    return Config(executors=[htex(os.getcwd())], strategy="none")
