"""As much of numpy as the example uses: lists of lists."""

from itertools import accumulate

int64, float32 = "int64", "float32"


class Array:
    def __init__(self, rows, dtype):
        self.rows, self.dtype = rows, dtype

    def cumsum(self, axis):
        assert axis == 1
        return Array([list(accumulate(row)) for row in self.rows], self.dtype)

    def __sub__(self, number):
        return Array([[value - number for value in row] for row in self.rows], self.dtype)


def array(rows, dtype):
    assert len({len(row) for row in rows}) == 1, "the rows are of different lengths"
    return Array(rows, dtype)


def maximum(values, least):
    return Array([[max(value, least) for value in row] for row in values.rows], values.dtype)


def zeros(shape, dtype):
    empty = Array([], dtype)
    empty.shape = shape
    return empty
