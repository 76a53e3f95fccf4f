"""Convolutions as loops over plain Python integers."""

from __future__ import annotations

from itertools import product
from typing import Any

Nested = Any  # lists of lists of ... of integers


def padding(size: int, kernel: int, stride: int, dilation: int, *, same: bool) -> tuple[int, int]:
    """Return the number of windows along an axis and the padding before the first element."""
    reach = (kernel - 1) * dilation + 1
    windows = -(-size // stride) if same else (size - reach) // stride + 1
    return windows, max((windows - 1) * stride + reach - size, 0) // 2 if same else 0


def conv_sums(
    x: Nested, filter_: Nested, stride: int, dilation: int, groups: int, *, same: bool
) -> dict[tuple[int, int, int], int]:
    """Return the sum at each (row, column, output channel) for one image (rows, columns, channels)."""
    kernel_h, kernel_w, depth = len(filter_[0]), len(filter_[0][0]), len(filter_[0][0][0])
    high, top = padding(len(x), kernel_h, stride, dilation, same=same)
    wide, left = padding(len(x[0]), kernel_w, stride, dilation, same=same)
    sums: dict[tuple[int, int, int], int] = {}
    for row, column, out_c in product(range(high), range(wide), range(len(filter_))):
        first = out_c // (len(filter_) // groups) * depth
        total = 0
        for i, j, channel in product(range(kernel_h), range(kernel_w), range(depth)):
            y, z = row * stride - top + i * dilation, column * stride - left + j * dilation
            if 0 <= y < len(x) and 0 <= z < len(x[0]):
                total += filter_[out_c][i][j][channel] * x[y][z][first + channel]
        sums[row, column, out_c] = total
    return sums


def transpose_conv_sums(
    x: Nested, filter_: Nested, stride: int, output: tuple[int, int], *, same: bool
) -> dict[tuple[int, int, int], int]:
    """Return what one image (rows, columns, channels) adds to each (row, column, channel) of the output."""
    kernel_h, kernel_w = len(filter_[0]), len(filter_[0][0])
    top = padding(output[0], kernel_h, stride, 1, same=same)[1]
    left = padding(output[1], kernel_w, stride, 1, same=same)[1]
    sums = dict.fromkeys(product(range(output[0]), range(output[1]), range(len(filter_))), 0)
    taps = list(product(range(kernel_h), range(kernel_w), range(len(filter_))))
    for row, column in product(range(len(x)), range(len(x[0]))):
        for i, j, out_c in taps:
            place = (row * stride - top + i, column * stride - left + j, out_c)
            if place in sums:
                sums[place] += sum(w * q for w, q in zip(filter_[out_c][i][j], x[row][column], strict=True))
    return sums
