"""HTTP over kept-alive connections, made patient: a manager that restarts costs its clients nothing but time."""

import http.client
import json
import os
import random
import re
import socket
import ssl
import threading
import time
import weakref
from urllib.parse import urlsplit

from ..errors import ApiError, GleanerError, ProtocolError, UnreachableError

# Seconds to connect, and for an answer unless a request says otherwise.
_CONNECT_S = 5
_TIMEOUT_S = 30
# Statuses by which a server that has not acted says that it is too busy, or that what stands before it cannot reach it.
_PASSING = (408, 429, 502, 503, 504)
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 3.0
# As the header of W3C's Trace Context has it.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
# A connection that was idle for longer may be closed at the other end just now.
_IDLE_S = 300


class Closed(GleanerError):
    """The connection to the factory was closed by the program itself."""


class Transport:
    """Requests to a manager, from any thread, each on a connection of its own while it lasts.

    `locate(lost)` finds the manager; it is asked again after each failure, because a restarted manager may listen elsewhere.
    `patience`: seconds to keep trying while the manager cannot be reached.
    """

    def __init__(self, locate, patience):
        self._locate = locate
        self._patience = patience
        self._lock = threading.Lock()
        self._idle = []
        self._busy = set()
        self._address = None
        self._reached = False
        self._closed = threading.Event()
        _all.add(self)

    def call(self, method, path, body=None, timeout=_TIMEOUT_S):
        """Sends JSON text, or nothing, and returns the answer, parsed.

        Raises ApiError if the manager refuses, UnreachableError, ProtocolError, or what `locate` raises.
        """
        data = body.encode() if isinstance(body, str) else body
        answer = self._patiently(method, path, data, "application/json", timeout)
        try:
            return json.loads(answer)
        except ValueError:
            raise ProtocolError(
                "the answer to %s %s is not understood: client and factory must be of the same version" % (method, path)
            ) from None

    def put(self, path, data):
        """Sends bytes. Raises as `call` does."""
        self._patiently("PUT", path, data, "application/octet-stream", _TIMEOUT_S)

    def get(self, path):
        """Gets bytes, as a bytearray. Raises as `call` does."""
        return bytearray(self._patiently("GET", path, None, None, _TIMEOUT_S))

    def close(self):
        """Ends what is under way, also what waits to try again."""
        self._closed.set()
        with self._lock:
            connections = self._idle + [(None, connection) for connection in self._busy]
            self._idle = []
        for _, connection in connections:
            sock = connection.sock
            if sock is not None:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        for _, connection in connections:
            if connection not in self._busy:
                connection.close()

    def forked(self):
        """In a process that was forked: it must not speak on its parent's connections, nor wait for one of its threads."""
        self._lock = threading.Lock()
        self._idle, self._busy = [], set()

    def _patiently(self, method, path, data, kind, timeout):
        deadline = None
        attempt = 0
        while True:
            if self._closed.is_set():
                raise Closed("the connection to the factory was closed")
            try:
                return self._once(method, path, data, kind, timeout)
            except ApiError as error:
                if error.status != 401 or not self._has_moved():
                    raise
                continue
            except UnreachableError as error:
                if self._closed.is_set():
                    raise Closed("the connection to the factory was closed") from None
                now = time.monotonic()
                deadline = deadline or now + self._patience
                if now >= deadline:
                    raise error
                self._address = None
            # Doubles, and spreads out clients that lost the same manager at the same moment.
            longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2**attempt)
            attempt = min(attempt + 1, 10)
            self._closed.wait(longest * random.uniform(0.5, 1))

    def _has_moved(self):
        """True if the manager's address or token has changed since it was last looked up."""
        before, self._address = self._address, self._locate(self._reached)
        return before is None or (before.url, before.token) != (self._address.url, self._address.token)

    def _once(self, method, path, data, kind, timeout):
        address = self._address
        if address is None:
            address = self._address = self._locate(self._reached)
        headers = {"Authorization": "Bearer " + address.token}
        trace = os.environ.get("TRACEPARENT", "").strip()
        # What is made of a job is part of the trace in which this program runs.
        if _TRACEPARENT.match(trace):
            headers["traceparent"] = trace
        if data is not None:
            headers["Content-Type"] = kind
        status, answer = self._exchange(address, method, path, data, headers, timeout)
        self._reached = True
        if 200 <= status < 300:
            return answer
        raise _refusal(method, path, status, answer)

    def _exchange(self, address, method, path, data, headers, timeout):
        while True:
            connection, used = self._take(address)
            try:
                connection.sock.settimeout(timeout)
                connection.request(method, path, data, headers)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._drop(connection)
                # A kept connection that was closed meanwhile says nothing about the manager.
                if used and isinstance(error, (ConnectionError, http.client.RemoteDisconnected)):
                    continue
                raise _unreachable(address, error) from error
            except BaseException:
                self._drop(connection)
                raise
            if response.will_close:
                self._drop(connection)
            else:
                self._give_back(address, connection)
            return response.status, answer

    def _take(self, address):
        """A connection to the manager, and whether it was used before."""
        now = time.monotonic()
        with self._lock:
            while self._idle:
                (url, since), connection = self._idle.pop()
                if url == address.url and now - since < _IDLE_S:
                    self._busy.add(connection)
                    return connection, True
                connection.close()
        connection = _connection(address)
        try:
            connection.connect()
            _check(connection, address)
            _check_owner(connection, address.owner)
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise _unreachable(address, error) from error
        with self._lock:
            self._busy.add(connection)
        return connection, False

    def _give_back(self, address, connection):
        with self._lock:
            self._busy.discard(connection)
            if not self._closed.is_set():
                self._idle.append(((address.url, time.monotonic()), connection))
                return
        connection.close()

    def _drop(self, connection):
        with self._lock:
            self._busy.discard(connection)
        connection.close()


_all = weakref.WeakSet()


def _after_fork():
    for transport in list(_all):
        transport.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _connection(address):
    url = urlsplit(address.url)
    if url.scheme != "https":
        return http.client.HTTPConnection(url.hostname, url.port, timeout=_CONNECT_S)
    if address.ca is None:
        context = ssl.create_default_context()
    else:
        # The certificate itself is compared, before anything is sent; see _check.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return http.client.HTTPSConnection(url.hostname, url.port, timeout=_CONNECT_S, context=context)


def _check(connection, address):
    """Trusts this very certificate and no other, under any name: a submit node goes by many."""
    if address.ca is None or not isinstance(connection, http.client.HTTPSConnection):
        return
    if connection.sock.getpeercert(binary_form=True) != ssl.PEM_cert_to_DER_cert(address.ca.strip()):
        raise ValueError("it shows another certificate than that of the factory")


# Local addresses of sockets that speak to this machine, as the kernel writes them.
_LOOPBACK = re.compile(r"(?:[0-9A-F]{6}7F|0{8}|0{32}|0{24}01000000|0{16}FFFF0000(?:[0-9A-F]{6}7F|0{8}))\Z")


def _check_owner(connection, owner):
    """Every user of a machine may listen at a port of 127.0.0.1 that a manager has left: without TLS it must be its owner, or root."""
    host, far = connection.sock.getpeername()[:2]
    near = connection.sock.getsockname()[1]
    if isinstance(connection, http.client.HTTPSConnection) or not (host.startswith("127.") or host == "::1"):
        return
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/self/net/" + name) as table:
                lines = table.readlines()[1:]
        except OSError:
            continue  # Only Linux has these tables, and a machine without IPv6 lacks the second.
        for fields in map(str.split, lines):
            address, port = fields[1].rsplit(":", 1)
            concerned = fields[3] == "0A" or int(fields[2].rsplit(":", 1)[1], 16) == near
            if _LOOPBACK.match(address) and int(port, 16) == far and concerned and int(fields[7]) not in (0, os.getuid(), owner):
                raise ValueError("another user (uid %s) listens there, not the manager" % fields[7])


def _unreachable(address, error):
    return UnreachableError("the manager at %s cannot be reached (%s)" % (address.url, error or type(error).__name__))


def _refusal(method, path, status, answer):
    try:
        error = json.loads(answer)["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "unknown", "%s %s was answered with HTTP status %d" % (method, path, status)
    return UnreachableError(message) if status in _PASSING else ApiError(status, code, message)
