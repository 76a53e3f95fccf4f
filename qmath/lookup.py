"""Functions by table: one entry a code for 8 bits, 513 entries and straight lines between them for 16 bits.

A real function is a callable from a float64 array to a float64 array; where the runtime works in float32 its result
is rounded once to float32, which is what a good libm gives and NumPy's own float32 functions do not.

Follows ``LUTPopulate`` and ``LUTLookup`` in ``tflite/kernels/internal/common.h``, and ``logistic.h`` and ``tanh.h``
in ``tflite/kernels/internal/reference/integer_ops``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from qmath.affine import quantized_range
from qmath.arguments import as_int64
from qmath.errors import InputError, SpecError
from qmath.fixed_point import wrap
from qmath.rounding import (
    float_to_int32_saturating,
    fused_multiply_add,
    round_half_away_from_zero,
    shift_right_half_up,
)
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array, Float64Array, Int16Array, Int64Array, QuantParams

#: A function of real numbers, evaluated on a whole array in float64.
RealFunction: TypeAlias = Callable[[Float64Array], Float64Array]

#: Straight lines that an int16 table replaces its function by; it has one entry more.
SEGMENTS = 512


def code_table(function: RealFunction, source: QuantParams, target: QuantParams) -> Array:
    """Tabulate a function of an 8-bit tensor, as LiteRT's builtin kernels do.

    All in float32, for each code of the source:

    1. ``real = scale * (code - zero_point)``;
    2. ``value = function(real)``;
    3. ``steps = value * (1 / target_scale)``, rounded half away from zero;
    4. ``steps + target_zero_point``, clamped; values beyond int32 clamp too, on x86 as well (measured).

    Parameters
    ----------
    function
        From real values to real values.
    source, target
        Per-tensor parameters, INT8 or UINT8.

    Returns
    -------
    ndarray
        Shape ``(256,)`` in the storage of ``target``, entry of code c at index c: negative codes count from the
        end, so ``table[codes]`` looks up. In memory that is the runtime's own order, by the byte of the code.

    Raises
    ------
    SpecError
        Parameters are per-axis, or not of an 8-bit type.
    InputError
        The function gives another number of values than it got.

    """
    values = _on_every_code(function, source, target)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = round_half_away_from_zero(values * (np.float32(1) / target.scale[0]))
        codes = float_to_int32_saturating(steps + np.float32(target.zero_point[0]))
    return np.clip(codes, *quantized_range(target.dtype)).astype(target.dtype.storage)


def code_table_half_even(function: RealFunction, source: QuantParams, target: QuantParams) -> Array:
    """Tabulate a function of an 8-bit tensor, as XNNPACK does.

    Like :func:`code_table`, but the zero point is added before rounding, and ties go to the even integer.
    """
    values = _on_every_code(function, source, target)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = values * (np.float32(1) / target.scale[0]) + np.float32(target.zero_point[0])
        codes = float_to_int32_saturating(np.rint(steps))
    return np.clip(codes, *quantized_range(target.dtype)).astype(target.dtype.storage)


def _on_every_code(function: RealFunction, source: QuantParams, target: QuantParams) -> Float32Array:
    """Evaluate on all codes of an 8-bit type, in the order of their bytes."""
    for params in (source, target):
        if params.per_axis or params.dtype not in (DType.INT8, DType.UINT8):
            found = f"{params.dtype.name} with {params.scale.size} scales"
            raise SpecError(f"expected per-tensor parameters of INT8 or UINT8 for a table of 256 codes, found {found}")
    codes = np.arange(256, dtype=np.uint8).view(source.dtype.storage).astype(np.int64)
    real = source.scale[0] * (codes - source.zero_point[0]).astype(np.float32)
    return _evaluate(function, real, np.float32)


@dataclass(frozen=True, slots=True)
class AffineMap:
    """``real = scale * (code - zero_point)`` for int16 codes; the scale need not be a float32, as a tensor's must."""

    scale: float
    zero_point: int

    def real_range(self, precision: npt.DTypeLike) -> tuple[Array, Array]:
        """Return the real values of the lowest and the highest code, computed in ``precision``."""
        scale, zero_point = np.asarray(self.scale, precision), self.zero_point
        low, high = np.asarray(-(1 << 15) - zero_point, precision), np.asarray((1 << 15) - 1 - zero_point, precision)
        return scale * low, scale * high


def interpolation_table(
    function: RealFunction,
    source: AffineMap,
    target: AffineMap,
    precision: npt.DTypeLike = np.float32,
    *,
    fused: bool = False,
) -> Int16Array:
    """Tabulate a function of an int16 tensor at 513 places, 128 codes apart.

    An entry is the function's value there, less half of the error that the straight line to the next place would
    make in the middle: so the error is spread over both ends.

    Parameters
    ----------
    function
        From real values to real values.
    source, target
        Parameters of input and output.
    precision
        float32; float64 for the two tables of LiteRT's int16 SOFTMAX.
    fused
        Whether a product and the sum it goes into are rounded once, as compilers for Arm make it; in float32.

    Returns
    -------
    Int16Array
        Shape ``(513,)``: entry i stands for code ``128 * i - 32768``.

    """

    def number(x: float) -> Array:
        return np.asarray(x, precision)

    input_min, input_max = source.real_range(precision)
    output_min, output_max = target.real_range(precision)
    step = (input_max - input_min) / number(SEGMENTS)
    steps_per_unit = number(1 << 16) / (output_max - output_min)
    index = np.arange(SEGMENTS + 1).astype(precision)
    multiply_add = fused_multiply_add if fused else _multiply_then_add
    starts = multiply_add(index[:-1], step, input_min)
    with np.errstate(over="ignore", invalid="ignore"):
        value = _evaluate(function, starts, precision)
        middle = _evaluate(function, starts + step / number(2), precision)
        following = _evaluate(function, multiply_add(index[1:], step, input_min), precision)
        last = _evaluate(function, input_max.reshape(1), precision)

        sample = round_half_away_from_zero(value * steps_per_unit)
        line_middle = round_half_away_from_zero(multiply_add(following, steps_per_unit, sample) / number(2))
        error = line_middle - round_half_away_from_zero(middle * steps_per_unit)
        entries = sample - round_half_away_from_zero(error / number(2))
        entries = np.append(entries, round_half_away_from_zero(last * steps_per_unit))
    # A NaN passes the runtime's clamp, and its conversion leaves 0 in the low 16 bits.
    table: Int16Array = np.nan_to_num(np.clip(entries, -(1 << 15), (1 << 15) - 1), nan=0.0).astype(np.int16)
    return table


def _multiply_then_add(a: Array, b: Array, c: Array) -> Array:
    return np.asarray(a * b + c)


def interpolate(codes: npt.ArrayLike, table: Int16Array) -> Int16Array:
    """Look int16 codes up in a table of 513 entries: the upper 9 bits choose a line, the lower 7 a place on it.

    The slope of a line is an int16 and wraps if two entries lie further apart.

    Parameters
    ----------
    codes
        int16 values, any shape.
    table
        From :func:`interpolation_table`.

    Raises
    ------
    InputError
        Codes do not fit 16 bits, or the table has another number of entries than 513.

    """
    narrow = np.asarray(codes).dtype == np.int16
    codes, entries = as_int64(codes), as_int64(table)
    if entries.shape != (SEGMENTS + 1,):
        raise InputError(f"expected a table of {SEGMENTS + 1} entries, found shape {entries.shape}")
    if not narrow and np.any(codes != wrap(codes, 16)):
        raise InputError(f"expected codes from -32768 to 32767, found {codes.min()} to {codes.max()}")
    index, offset = (codes >> 7) + SEGMENTS // 2, codes & 127
    slope = wrap(entries[index + 1] - entries[index], 16)
    return wrap(entries[index] + shift_right_half_up(slope * offset, 7), 16).astype(np.int16)


# --- Logistic and tanh of int16 codes, from one small table -------------------------------------------------------


def sigmoid_table() -> Int64Array:
    """Tabulate 2**16 / (1 + e**(-i / 24)) at i = 0 ... 255: values of uint16.

    Entry i is raised by half of the error that the straight line to entry i + 1 would make in the middle, then
    rounded. The last entry is 65535.
    """

    def sigmoid(x: Float64Array) -> Float64Array:
        return np.asarray(1 / (1 + np.exp(-x)), np.float64)

    index = np.arange(255, dtype=np.float64)
    start, middle, following = sigmoid(index / 24), sigmoid((index + 0.5) / 24), sigmoid((index + 1) / 24)
    corrected = start + (middle - (start + following) / 2) / 2
    return np.append(np.floor(corrected * 65536 + 0.5), 65535).astype(np.int64)


def logistic_int16(codes: npt.ArrayLike, multiplier: int, right_shift: int, note: Note = silent) -> Int16Array:
    """Compute the logistic function of int16 codes; scale 1/32768 out.

    1. ``scaled = codes * multiplier / 2**right_shift``, ties up: the real value times 3 * 2**12 = 24 * 2**9.
    2. The magnitude's bits from the 9th up choose an entry of the table, the lower ones a place on the line to the
       next; beyond the table the result is the highest.
    3. For negative codes, 1 - result. Round half up to 16 bits.

    Parameters
    ----------
    codes
        int16 values, any shape.
    multiplier, right_shift
        From the input scale; for a scale that is a power of two ``3 << shift`` and 0.
    note
        Receives the stages.

    """
    scaled = _scaled(codes, multiplier, right_shift, note)
    line = _line(scaled, 9, 0x7FFF << 10, note)
    mirrored = np.where(scaled >= 0, line + (1 << 9), (1 << 25) - line + (1 << 9) - 1)
    rule = "floor((line + 2**9 if scaled >= 0 else 2**25 - line + 2**9 - 1) / 2**10)"
    return note("output", mirrored >> 10, rule, line=line, scaled=scaled).astype(np.int16)


def tanh_int16(codes: npt.ArrayLike, multiplier: int, right_shift: int, note: Note = silent) -> Int16Array:
    """Compute tanh of int16 codes as 2 * logistic(2 * x) - 1; scale 1/32768 out.

    Parameters
    ----------
    codes
        int16 values, any shape.
    multiplier, right_shift
        As for :func:`logistic_int16`; doubling x moves the place in the table by one bit.
    note
        Receives the stages.

    """
    scaled = _scaled(codes, multiplier, right_shift, note)
    line = _line(scaled, 8, 0xFFFF << 8, note)
    half = 1 << 23
    mirrored = np.where(scaled >= 0, line - half + (1 << 7), half - line + (1 << 7) - 1)
    rule = "floor((line - 2**23 + 2**7 if scaled >= 0 else 2**23 - line + 2**7 - 1) / 2**8)"
    return note("output", mirrored >> 8, rule, line=line, scaled=scaled).astype(np.int16)


def _scaled(codes: npt.ArrayLike, multiplier: int, right_shift: int, note: Note) -> Int64Array:
    codes = as_int64(codes)
    scaled = shift_right_half_up(codes * multiplier, right_shift)
    terms = {"x": codes, "multiplier": np.asarray(multiplier), "right": np.asarray(right_shift)}
    return note("scaled", scaled, "half_up(x * multiplier / 2**right)", **terms)


def _line(scaled: Int64Array, fraction_bits: int, beyond: int, note: Note) -> Int64Array:
    """Interpolate in the sigmoid table; the result has ``fraction_bits`` bits more than an entry."""
    table, magnitude = _SIGMOID_TABLE, np.abs(scaled)
    place = note("place", magnitude >> fraction_bits, f"floor(abs(scaled) / 2**{fraction_bits})", scaled=scaled)
    index = np.minimum(place, 254)
    ends = [table[index], table[index + 1]]
    for name, entry, at in (("entry", ends[0], "place"), ("next entry", ends[1], "(place + 1)")):
        note(name, entry, f"~ 2**16 / (1 + exp(-min({at}, 255) / 24))", place=place)
    fraction = magnitude & ((1 << fraction_bits) - 1)
    note("fraction", fraction, f"abs(scaled) % 2**{fraction_bits}", scaled=scaled)
    line: Int64Array = np.where(place >= 255, beyond, (ends[0] << fraction_bits) + fraction * (ends[1] - ends[0]))
    rule = f"entry * 2**{fraction_bits} + fraction * (following - entry) if place < 255 else {beyond}"
    return note("line", line, rule, entry=ends[0], following=ends[1], fraction=fraction, place=place)


def _evaluate(function: RealFunction, real: Array, precision: npt.DTypeLike) -> Array:
    with np.errstate(all="ignore"):
        values = np.asarray(function(real.astype(np.float64)))
        if values.shape != real.shape:
            raise InputError(f"expected a function that gives {real.shape} for {real.shape}, found {values.shape}")
        return values.astype(precision)


_SIGMOID_TABLE = sigmoid_table()
_SIGMOID_TABLE.flags.writeable = False
