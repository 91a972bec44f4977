"""Arguments and results as they travel: pickles, small ones inside of messages, the large parts of others as blobs.

A packed value is JSON: a text is a pickle in base64. `{"pickle": …, "buffers": […]}` is one that refers to blobs, or is one
itself; NumPy arrays and other buffers (PEP 574), long bytes and strings become blobs of their own, so that what is in many
calls travels once. Numbers are what they were: integers of any size, NaN, infinity.
"""

import base64
import hashlib
import io
import json
import os
import pickle
import sys
import uuid

from .byvalue import cloudpickle, pickler

PROTOCOL = 5
# From this size on, bytes, a part of a value travels as a blob. The same on both sides, though nothing depends on it.
INLINE = 128 << 10
# Largest blob, bytes.
BLOB_MAX = 256 << 20

_NEEDS_VALUE = (pickle.PicklingError, AttributeError, TypeError)


class Packed:
    """A value ready to travel. `json`: JSON text. `blobs`: size by SHA-256. `parts`: the bytes of those made here.

    `by_value`: there is code in it, so that only the same version of Python can read it.
    """

    __slots__ = ("json", "blobs", "parts", "by_value")

    def __init__(self, json, blobs=None, parts=None, by_value=False):  # pylint: disable=redefined-outer-name
        self.json = json
        self.blobs = blobs or {}
        self.parts = parts or {}
        self.by_value = by_value


class Parcel:
    """A value that was packed elsewhere, as a part of one that is packed here: it travels on without being looked at."""

    __slots__ = ("json", "blobs")

    def __init__(self, json, blobs):
        self.json = json
        self.blobs = blobs


def dumps(value, buffer_callback=None):
    """Pickles a value: what belongs to the main program by value, if cloudpickle is there, all else as pickle does."""
    try:
        data = pickle.dumps(value, PROTOCOL, buffer_callback=buffer_callback)
    except _NEEDS_VALUE:
        if pickler() is None:
            raise
    else:
        if b"__main__" not in data or pickler() is None:
            return data
    file = io.BytesIO()
    pickler()(file, PROTOCOL, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


def is_by_value(data):
    """Whether a pickle has code in it, so that only the same version of Python can read it."""
    return b"cloudpickle" in data


def pack(value):
    """Packs a value. Raises what pickle does, or ValueError for a part that is too large to travel."""
    buffers = []
    data = dumps(value, _collect(buffers))
    if not buffers and len(data) < INLINE:
        return Packed('"%s"' % base64.b64encode(data).decode(), by_value=is_by_value(data))
    return _pack_large(value)


def pack_call(args, kwargs):
    """Packs the arguments of a call, each large one so that others share it. Parcels may be among them."""
    if not any(isinstance(arg, Parcel) for arg in args) and not any(isinstance(arg, Parcel) for arg in kwargs.values()):
        packed = pack((args, kwargs))
        if len(packed.json) < INLINE and not packed.blobs:
            return packed
    more = Packed("")
    return _pack_large(
        (tuple(_apart(arg, more) for arg in args), {name: _apart(arg, more) for name, arg in kwargs.items()}), more
    )


def _apart(arg, more):
    """An argument by itself, if it is large as a whole."""
    if isinstance(arg, (Parcel, bytes, bytearray, str, int, float, type(None))):
        return arg
    packed = pack(arg)
    if not packed.blobs:
        return arg
    more.parts.update(packed.parts)
    more.by_value = more.by_value or packed.by_value
    return Parcel(packed.json, packed.blobs)


def _pack_large(value, more=None):
    made = Packed("", dict(more.blobs) if more else {}, dict(more.parts) if more else {})
    buffers = []
    file = io.BytesIO()
    _splitter(file, made, _collect(buffers)).dump(value)
    references = [_reference(*_add(made, buffer.raw())) for buffer in buffers]
    data = file.getvalue()
    made.by_value = is_by_value(data) or bool(more and more.by_value)
    if len(data) < INLINE:
        text = '"%s"' % base64.b64encode(data).decode()
    else:
        text = _reference(*_add(made, data))
    made.json = '{"pickle":%s,"buffers":[%s]}' % (text, ",".join(references))
    return made


def _collect(buffers):
    """A callback that has small buffers stay in the pickle and collects the others."""

    def collect(buffer):
        if buffer.raw().nbytes < INLINE:
            return True
        buffers.append(buffer)
        return False

    return collect


def _add(made, view):
    size = len(view) if isinstance(view, bytes) else view.nbytes
    if size > BLOB_MAX:
        raise ValueError(
            "a value of %d MiB is more than the %d MiB that can travel: give it in pieces, or in a bundle"
            % (size >> 20, BLOB_MAX >> 20)
        )
    sha256 = hashlib.sha256(view).hexdigest()
    made.blobs[sha256] = size
    # The caller may go on to change the memory.
    if sha256 not in made.parts:
        made.parts[sha256] = bytes(view)
    return sha256, size


def _reference(sha256, size):
    return '{"sha256":"%s","bytes":%d}' % (sha256, size)


def _splitter(file, made, buffer_callback):
    """A pickler that puts parcels and long texts and bytes aside."""
    base = pickler() or pickle.Pickler

    class Splitter(base):
        def persistent_id(self, obj):
            kind = type(obj)
            if kind is Parcel:
                made.blobs.update(obj.blobs)
                return ("parcel", obj.json)
            if kind is str and len(obj) >= INLINE:
                return ("str",) + _add(made, obj.encode("utf-8", "surrogatepass"))
            if (kind is bytes or kind is bytearray) and len(obj) >= INLINE:
                return (kind.__name__,) + _add(made, memoryview(obj))
            return None

    return Splitter(file, PROTOCOL, buffer_callback=buffer_callback)


def unpack(packed, read):
    """The value that `pack` made `packed` of, as JSON has it once it is parsed.

    `read(sha256, size)` gives the bytes of a blob as a bytearray of the caller's own.
    """
    if isinstance(packed, str):
        return pickle.loads(base64.b64decode(packed))
    data = packed["pickle"]
    stream = base64.b64decode(data) if isinstance(data, str) else read(data["sha256"], data["bytes"])
    buffers = [read(each["sha256"], each["bytes"]) for each in packed["buffers"]]
    return _Joiner(io.BytesIO(stream), read, buffers).load()


class _Joiner(pickle.Unpickler):
    def __init__(self, file, read, buffers):
        super().__init__(file, buffers=buffers)
        self._read = read

    def persistent_load(self, pid):
        if pid[0] == "parcel":
            return unpack(json.loads(pid[1]), self._read)
        kind, sha256, size = pid
        data = self._read(sha256, size)
        if kind == "str":
            return bytes(data).decode("utf-8", "surrogatepass")
        return data if kind == "bytearray" else bytes(data)


class BlobMismatch(Exception):
    """Bytes are not those that their name promises."""


def checked(data, sha256, size):
    """Returns the bytes of a blob. Raises BlobMismatch if they are others."""
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise BlobMismatch("what came is not blob %s of %d bytes: it was cut off or changed on the way" % (sha256, size))
    return data


def read_blob(folder, sha256, size):
    """The bytes of a blob in a folder of them, as a bytearray. Raises BlobMismatch, or what the disk says."""
    data = bytearray(size)
    with open(os.path.join(folder, sha256), "rb", buffering=0) as file:
        view, at = memoryview(data), 0
        while at < size:
            count = file.readinto(view[at:])
            if not count:
                break
            at += count
    return checked(data, sha256, size)


def write_blob(folder, sha256, data):
    """Puts a blob into a folder of them, unless it is there. Nothing waits for the disk."""
    path = os.path.join(folder, sha256)
    if os.path.exists(path):
        return
    os.makedirs(folder, exist_ok=True)
    draft = "%s.%s.new" % (path, uuid.uuid4())
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        os.replace(draft, path)
    except BaseException:
        if os.path.exists(draft):
            os.unlink(draft)
        raise


def python_version():
    """The version that pickles of functions by value depend on, such as "3.11"."""
    return "%d.%d" % sys.version_info[:2]


def bare_exception(cls, args, attributes):
    """An exception with these arguments and attributes, whatever its `__init__` wants."""
    error = cls.__new__(cls, *args)
    error.args = args
    vars(error).update(attributes)
    return error


def to_json(value):
    """JSON text of a packed value that was parsed."""
    return json.dumps(value, separators=(",", ":"))
