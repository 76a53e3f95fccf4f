"""STRIDED_SLICE: every n-th element along each axis, between a begin and an end.

Source: ``tflite/kernels/strided_slice.cc``, ``internal/reference/strided_slice.h``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine import delegate
from kernels.engine.contract import (
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    output_tensor,
)
from kernels.engine.movement import COPIED, Movement, expect_covered, in_words, integers
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Prepared
from kernels.profiles import XNNPACK, Profile
from qmath.types import Array, DType

#: Bits of a mask: one entry of begin, end and strides each.
MAX_ENTRIES = 31


@dataclass(frozen=True, slots=True)
class Masks:
    """The options of STRIDED_SLICE. Bit ``i`` of a mask is about entry ``i`` of begin, end and strides.

    Attributes
    ----------
    begin, end
        The entry is ignored: take the axis from its start, or to its end (the other way round for negative strides).
    ellipsis
        The entry stands for as many whole axes as are left over.
    new_axis
        The entry inserts an axis of size 1.
    shrink_axis
        The entry picks one index, and its axis goes away.
    offset
        Ends are counted from the begins.

    """

    begin: int
    end: int
    ellipsis: int
    new_axis: int
    shrink_axis: int
    offset: bool


@dataclass(frozen=True, slots=True)
class Axis:
    """What happens to one axis.

    Attributes
    ----------
    size
        Of the input; 1 for one that is inserted.
    entry
        Which entry of begin, end and strides is about it, or None: taken whole.

    """

    size: int
    entry: int | None


def lay_out(shape: tuple[int, ...], entries: int, masks: Masks) -> list[Axis]:
    """Tell which entry is about which axis, inserted axes included.

    1. Entries go to axes in order.
    2. An ellipsis takes the axes for which no other entry is left, but at least one.
    3. Axes behind the last entry are taken whole; entries behind the last axis are ignored.

    Quirk: In STRIDED_SLICE an ellipsis takes at least one axis, and entries beyond the last axis are ignored.

    Raises
    ------
    ModelError
        There are several ellipses, too few axes for the entries before an inserted one, or an axis is to be inserted
        by an entry that is not there, in place of one of the input, of which the runtime then reads a part.

    """
    expect(masks.ellipsis.bit_count() <= 1, f"at most one ellipsis, found the mask {masks.ellipsis:b}")
    inserted = sum(_has(masks.new_axis, i) and not _has(masks.ellipsis, i) for i in range(entries))
    total = len(shape) + inserted
    beyond = (masks.ellipsis | masks.new_axis) >> entries & (1 << max(total - entries, 0)) - 1
    expect(not beyond, f"no new axis or ellipsis beyond the {entries} entries, found the mask {beyond << entries:b}")
    sizes = list(shape)
    axes: list[Axis] = []
    entry = 0
    while len(axes) < total:
        present = entry < entries
        if present and _has(masks.ellipsis, entry):
            axes.extend(Axis(_next(sizes), None) for _ in range(max(1, total - entries + 1)))
        elif present and _has(masks.new_axis, entry):
            axes.append(Axis(1, None))
        else:
            axes.append(Axis(_next(sizes), entry if present else None))
        entry += 1
    expect(not sizes, f"entries for every axis of {shape}, found {entries}")
    return axes


def _next(sizes: list[int]) -> int:
    expect(bool(sizes), "an axis for every entry, found more entries")
    return sizes.pop(0)


def strided_slice(x: Array, begin: Array, end: Array, strides: Array, masks: Masks) -> Array:
    """Take every ``stride``-th element from begin to before end, along each axis.

    1. Negative begins and ends count from the back; both are then clamped to the axis.
    2. A negative stride walks backwards, down to after end.
    3. An axis to shrink keeps the one element at begin and goes away.

    Raises
    ------
    ModelError
        A stride is 0, an index to keep lies outside, or the options contradict each other.

    """
    begins, ends, steps = integers(begin), integers(end), integers(strides)
    expect(len(begins) == len(ends) == len(steps), f"as many begins, ends and strides, found {begins}, {ends}, {steps}")
    axes = lay_out(x.shape, len(begins), masks)
    cuts: list[slice | int] = []
    for axis in axes:
        i = axis.entry
        if i is None:
            expect(not masks.offset, "an entry for every axis where ends are offsets")
            cuts.append(slice(None))
        elif _has(masks.shrink_axis, i):
            cuts.append(_pick(axis.size, begins[i], steps[i], masked=_has(masks.begin, i)))
        else:
            start = _start(axis.size, begins[i], steps[i], masked=_has(masks.begin, i))
            stop = ends[i] + start if masks.offset else ends[i]
            kept = range(start, _stop(axis.size, stop, steps[i], masked=_has(masks.end, i)), steps[i])
            if masks.offset:
                # The runtime sizes its output by the offset alone and would leave the rest unwritten.
                wanted = range(0, ends[i], steps[i])
                expect(len(kept) == len(wanted), f"{len(wanted)} elements within the offset, found {len(kept)}")
            cuts.append(_slice(kept))
    widened = x.reshape([axis.size for axis in axes])
    return np.array(widened[tuple(cuts)], order="C")


def _pick(size: int, begin: int, step: int, *, masked: bool) -> int:
    expect(step > 0, f"a positive stride where an axis shrinks, found {step}")
    index = _start(size, begin, step, masked=masked)
    expect(index < size, f"an index within {size} elements, found {begin}")
    return index


def _slice(kept: range) -> slice:
    """Return the elements of a range as a slice, which takes a negative stop for a place counted from the back."""
    if not kept:
        return slice(0)
    return slice(kept.start, None if kept.stop < 0 else kept.stop, kept.step)


def _has(mask: int, bit: int) -> bool:
    return bool(mask >> bit & 1)


def _start(size: int, begin: int, step: int, *, masked: bool) -> int:
    expect(step != 0, "strides other than 0, found 0")
    if masked:
        return 0 if step > 0 else size - 1
    lowest, highest = (0, size) if step > 0 else (-1, size - 1)
    return min(max(begin + size if begin < 0 else begin, lowest), highest)


def _stop(size: int, end: int, step: int, *, masked: bool) -> int:
    if masked:
        return size if step > 0 else -1
    lowest, highest = (0, size) if step > 0 else (-1, size - 1)
    return min(max(end + size if end < 0 else end, lowest), highest)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of STRIDED_SLICE.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The element type is not covered.

    """
    del profile
    expect_count(op, {4})
    x = input_tensor(op, 0)
    expect_covered(op, x, COPIED)
    expect_dtype(output_tensor(op), x.dtype)
    for slot in (1, 2, 3):
        tensor = input_tensor(op, slot)
        expect_dtype(tensor, DType.INT32)
        expect_rank(tensor, 1)
        expect(tensor.shape[0] <= MAX_ENTRIES, f"at most {MAX_ENTRIES} entries, found {tensor.shape[0]}")
    masks = Masks(
        begin=option(op, "begin_mask"),
        end=option(op, "end_mask"),
        ellipsis=option(op, "ellipsis_mask"),
        new_axis=option(op, "new_axis_mask"),
        shrink_axis=option(op, "shrink_axis_mask"),
        offset=option(op, "offset"),
    )
    return Movement(lambda x, begin, end, strides: strided_slice(x, begin, end, strides, masks))


KERNELS = (
    Kernel(
        "STRIDED_SLICE",
        prepare,
        covers=in_words(COPIED),
        refusal={XNNPACK: delegate.strided_slicing},
        demands={XNNPACK: delegate.same_scale_and_zero_point},
    ),
)
