"""Arguments and results as they travel."""

import json
import math
import pickle
import tempfile
import unittest

from gleaner.packing import values


class Lone:
    def __init__(self, inner):
        self.inner = inner

    def __eq__(self, other):
        return self.inner == other.inner


def travel(value):
    packed = values.pack(value)
    return values.unpack(json.loads(packed.json), reader(packed)), packed


def reader(packed):
    return lambda sha256, size: values.checked(bytearray(packed.parts[sha256]), sha256, size)


class Values(unittest.TestCase):
    def test_numbers(self):
        """a packed value keeps integers of any size, NaN, infinities, sets, tuples and bytes as they are"""
        value = [2**53 + 1, -(2**70), math.inf, {1, 2}, (1, b"\0\xff"), {"a": None}, "\ud800", 1.5j]
        self.assertEqual(travel(value)[0], value)
        self.assertTrue(math.isnan(travel(math.nan)[0]))

    def test_large_parts(self):
        """long bytes and texts in a value become blobs of their own, each once"""
        long = b"x" * values.INLINE
        value = [long, {"again": long}, bytearray(b"y" * values.INLINE), "é" * values.INLINE, 1]
        back, packed = travel(value)
        self.assertEqual(back, value)
        self.assertIsInstance(back[2], bytearray)
        self.assertEqual(len(packed.parts), 3)
        self.assertLess(len(packed.json), 2000)

    def test_large_whole(self):
        """a value that is large only as a whole is a blob as a whole"""
        value = list(range(100_000))
        back, packed = travel(value)
        self.assertEqual((back, len(packed.parts)), (value, 1))

    def test_buffers(self):
        """large buffers travel outside of the pickle, and can be written to when they arrive"""
        view = pickle.PickleBuffer(bytearray(values.INLINE))
        back, packed = travel({"view": view})
        self.assertEqual(len(packed.parts), 1)
        self.assertEqual(bytes(back["view"]), bytes(values.INLINE))

    def test_copies(self):
        """what is packed does not change with the memory it was packed from"""
        data = bytearray(values.INLINE)
        packed = values.pack([data])
        data[0] = 1
        self.assertEqual(values.unpack(json.loads(packed.json), reader(packed))[0][0], 0)

    def test_shared_arguments(self):
        """an argument that is large is the same blob in every call that has it"""
        large = list(range(100_000))
        one, other = values.pack_call((large, 1), {}), values.pack_call((2, large), {"more": large})
        self.assertEqual(set(one.parts), set(other.parts))
        args, kwargs = values.unpack(json.loads(other.json), reader(other))
        self.assertEqual((args, kwargs), ((2, large), {"more": large}))

    def test_parcels(self):
        """a large result goes on to another call without being looked at"""
        packed = values.pack(Lone(b"z" * values.INLINE))
        call = values.pack_call((values.Parcel(packed.json, packed.blobs), 2), {})
        self.assertEqual(call.blobs, packed.blobs)
        self.assertEqual(call.parts, {})
        args, _ = values.unpack(json.loads(call.json), reader(packed))
        self.assertEqual(args, (Lone(b"z" * values.INLINE), 2))

    def test_too_large(self):
        """a part that is larger than can travel is refused"""
        most, values.BLOB_MAX = values.BLOB_MAX, values.INLINE
        try:
            with self.assertRaisesRegex(ValueError, "give it in pieces, or in a bundle"):
                values.pack(b"x" * (values.INLINE + 1))
        finally:
            values.BLOB_MAX = most

    def test_blob_files(self):
        """a blob in a folder is checked when it is read"""
        with tempfile.TemporaryDirectory() as folder:
            packed = values.pack(b"x" * values.INLINE)
            ((sha256, data),) = packed.parts.items()
            values.write_blob(folder, sha256, data)
            values.write_blob(folder, sha256, data)
            self.assertEqual(values.read_blob(folder, sha256, len(data)), data)
            with open("%s/%s" % (folder, sha256), "r+b") as file:
                file.write(b"!")
            with self.assertRaises(values.BlobMismatch):
                values.read_blob(folder, sha256, len(data))
            with open("%s/%s" % (folder, sha256), "r+b") as file:
                file.truncate(10)
            with self.assertRaises(values.BlobMismatch):
                values.read_blob(folder, sha256, len(data))
