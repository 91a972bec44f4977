"""The large parts of arguments and results, as a client has to do with them."""

import concurrent.futures
import json
import threading
import time

from ..errors import ProtocolError
from ..packing import values

# What the factory has, it has for this long at least, seconds; it promises more.
_KNOWN_S = 300
# Asked for at once; bodies under way at once.
_ASK_MAX = 1000
_AT_ONCE = 4


class Blobs:
    """Gives a factory blobs that it lacks, each once, and gets those of results."""

    def __init__(self, transport):
        self._transport = transport
        self._known = {}
        self._lock = threading.Lock()
        self._pool = None

    def put(self, parts):
        """Sees to it that the factory has these, bytes by SHA-256. Raises as the transport does."""
        now = time.monotonic()
        with self._lock:
            for sha256 in [sha256 for sha256, since in self._known.items() if now - since > _KNOWN_S]:
                del self._known[sha256]
            fresh = [sha256 for sha256 in parts if sha256 not in self._known]
        for at in range(0, len(fresh), _ASK_MAX):
            some = fresh[at : at + _ASK_MAX]
            asked = [{"sha256": sha256, "bytes": len(parts[sha256])} for sha256 in some]
            wanted = self._transport.call("POST", "/v1/blobs", json.dumps({"blobs": asked}))["wanted"]
            self._send({sha256: parts[sha256] for sha256 in wanted})
            with self._lock:
                self._known.update((sha256, now) for sha256 in some)

    def forget(self):
        """Has all be asked for anew: the factory said that it lacks one."""
        with self._lock:
            self._known.clear()

    def read(self, sha256, size):
        """The bytes of a blob, as a bytearray. Raises ApiError if the factory has it no more."""
        try:
            return values.checked(self._transport.get("/v1/blobs/" + sha256), sha256, size)
        except values.BlobMismatch as error:
            raise ProtocolError("a large result cannot be had: %s" % error) from error

    def _send(self, parts):
        send = [(lambda sha256=sha256, data=data: self._transport.put("/v1/blobs/" + sha256, data)) for sha256, data in parts.items()]
        if len(send) < 2:
            for one in send:
                one()
            return
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(_AT_ONCE, "gleaner-blobs")
        for future in [self._pool.submit(one) for one in send]:
            future.result()

    def close(self):
        """Ends its threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
