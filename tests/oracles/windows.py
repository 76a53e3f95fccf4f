"""Pools, means and resizing from their definitions, one element after the other, on Python integers and fractions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from tests.oracles import rational


def window(size: int, kernel: int, stride: int, index: int, *, same: bool) -> range:
    """Return the places of a window that lie inside an axis."""
    before = 0
    if same:
        output = -(-size // stride)
        before = max((output - 1) * stride + kernel - size, 0) // 2
    first = index * stride - before
    return range(max(first, 0), min(first + kernel, size))


def windows(
    image: Sequence[Sequence[int]], kernel: tuple[int, int], stride: tuple[int, int], *, same: bool
) -> Iterator[list[int]]:
    """Yield the elements inside each window of a one-channel image, row by row."""
    sizes = len(image), len(image[0])
    counts = [
        -(-size // step) if same else (size - taps) // step + 1
        for size, taps, step in zip(sizes, kernel, stride, strict=True)
    ]
    for i in range(counts[0]):
        for j in range(counts[1]):
            rows = window(sizes[0], kernel[0], stride[0], i, same=same)
            columns = window(sizes[1], kernel[1], stride[1], j, same=same)
            yield [image[row][column] for row in rows for column in columns]


def average(codes: Sequence[int]) -> int:
    """Average codes, ties away from zero."""
    return rational.half_away(Fraction(sum(codes), len(codes)))


def mean(codes: Sequence[int], real_multiplier: float, zero_points: tuple[int, int], codes_range: range) -> int:
    """Average codes and requantize them by a multiplier that takes in the division."""
    multiplier, shift = rational.encode(real_multiplier)
    count = len(codes)
    more = min(count.bit_length() - 1, 31 + shift)
    divided = (multiplier << more) // count
    total = sum(codes) - count * zero_points[0]
    scaled = rational.double_rounding(total, divided, shift - more) + zero_points[1]
    return min(max(scaled, codes_range.start), codes_range.stop - 1)


def neighbours(size: int, wanted: int, index: int, *, align: bool, half: bool) -> tuple[int, int, int]:
    """Return the rows beside an output row, and its distance from the first in units of 1/1024."""
    spans, parts = (size - 1, wanted - 1) if align and wanted > 1 else (size, wanted)
    scale = (1024 * spans + parts // 2) // parts
    place = index * scale + (scale // 2 - 512 if half else 0)
    lower = max(rational.toward_zero(Fraction(place, 1024)), 0)
    upper = min(rational.toward_zero(Fraction(place + 1023, 1024)), size - 1)
    return lower, upper, place - 1024 * lower


def bilinear(image: Sequence[Sequence[int]], row: tuple[int, int, int], column: tuple[int, int, int]) -> int:
    """Interpolate one code between four."""
    above, below, down = row
    left, right, across = column
    total = (
        image[above][left] * (1024 - down) * (1024 - across)
        + image[below][left] * down * (1024 - across)
        + image[above][right] * (1024 - down) * across
        + image[below][right] * down * across
    )
    return rational.half_away(Fraction(total, 1 << 20))
