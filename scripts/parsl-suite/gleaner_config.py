"""The configuration under which Parsl's own tests run on a factory, which $GLEANER_STATE names."""

from gleaner.parsl import GleanerExecutor
from parsl.config import Config


def fresh_config():
    return Config(executors=[GleanerExecutor()], strategy="none")
