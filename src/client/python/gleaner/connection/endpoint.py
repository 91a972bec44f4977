"""Where a factory listens, and the secret that opens it."""

import json
import os
import socket

from ..errors import InputError, NotRunningError


class Address:
    """`url` and `token` of a manager; `ca`: its certificate (PEM) if it speaks TLS and made the certificate itself; `owner`: its user (uid)."""

    __slots__ = ("url", "token", "ca", "owner")

    def __init__(self, url, token, ca=None, owner=None):
        self.url = url
        self.token = token
        self.ca = ca
        self.owner = owner


def state_folder(given=None):
    """The folder a factory keeps everything in: the one given, or `$GLEANER_STATE`, or `~/.gleaner`."""
    home = os.environ.get("GLEANER_STATE") or os.path.join(os.path.expanduser("~"), ".gleaner")
    return os.path.abspath(given or home)


def find_address(state, lost):
    """The address of the factory on a state folder. `lost`: it was reached before, so its absence may be a restart.

    Raises NotRunningError, or UnreachableError if it is lost, which is worth trying again; InputError if its file is damaged.
    """
    from ..errors import UnreachableError

    endpoint = _read(os.path.join(state, "endpoint.json"))
    if endpoint is not None and not _is_gone(endpoint):
        ca = None
        if endpoint["url"].startswith("https:"):
            try:
                with open(os.path.join(state, "manager.crt"), encoding="ascii") as file:
                    ca = file.read()
            except FileNotFoundError:
                pass
        return Address(endpoint["url"], endpoint["token"], ca, _owner(os.path.join(state, "endpoint.json")))
    if lost:
        raise UnreachableError('the factory on %s is gone: start it again with "factory start"' % state)
    raise NotRunningError('no factory is running on %s: start one with "factory start"' % state)


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            endpoint = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        endpoint = None
    fields = (("url", str), ("token", str), ("pid", int), ("host", str))
    if not isinstance(endpoint, dict) or not all(isinstance(endpoint.get(name), kind) for name, kind in fields):
        raise InputError("%s is damaged: stop the factory, delete it and start again" % path)
    return endpoint


def _owner(path):
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return None  # The factory ends just now.


def _is_gone(endpoint):
    """True if the process that wrote this is known to have ended; one on another host is given the benefit of the doubt."""
    if endpoint["host"] != socket.gethostname():
        return False
    try:
        os.kill(endpoint["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    try:
        with open("/proc/%d/stat" % endpoint["pid"], encoding="latin-1") as file:
            return file.read().rpartition(")")[2].split()[:1] == ["Z"]
    except OSError:
        return False
