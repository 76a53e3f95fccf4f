"""Parts of the integer LSTM: the functions of its gates, layer normalization, weights laid out for exact sums.

Source: ``tflite/kernels/lstm_eval.cc``, ``tflite/kernels/internal/reference/portable_tensor_utils.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from kernels.engine import compile as fast
from kernels.engine import exact
from kernels.lstm_tensors import Gate, Layout, Parameters
from kernels.lstm_vector import NORMALIZED, Blocks
from qmath.errors import ModelError
from qmath.fixed_point import inverse_square_root, logistic, saturate, tanh, wrap_int32
from qmath.rounding import divide_toward_zero
from qmath.types import Array, DType, FixedPointMultiplier, Int64Array

#: Integer bits of what enters the gates' functions: the scale is 2**-12.
GATE_BITS = 3


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalization inside a gate.

    Attributes
    ----------
    scale
        Of the coefficients.
    guard
        What a variance below 1 is replaced by.

    """

    scale: FixedPointMultiplier
    guard: int


@dataclass(frozen=True, slots=True)
class IntegerGate:
    """From the products with a gate's weights to the scale of the gate.

    Attributes
    ----------
    from_input, from_output
        Of the products with the input and with the output state.
    from_cell
        Of those with the cell state; None without peephole weights.
    norm
        None without layer normalization.

    """

    from_input: FixedPointMultiplier
    from_output: FixedPointMultiplier
    from_cell: FixedPointMultiplier | None
    norm: Norm | None


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions of the gates, from int16 to int16 with no integer bits.

    Attributes
    ----------
    logistic, tanh
        Of int16 codes, and their integer bits.

    """

    logistic: Callable[[Array, int], Array]
    tanh: Callable[[Array, int], Array]


def logistic_int16(x: Array, integer_bits: int) -> Array:
    """Compute the logistic function by gemmlowp's fixed-point arithmetic."""
    return logistic(x, integer_bits, 16).astype(np.int16)


def tanh_int16(x: Array, integer_bits: int) -> Array:
    """Compute tanh by gemmlowp's fixed-point arithmetic."""
    return tanh(x, integer_bits, 16).astype(np.int16)


@cache
def _table(function: Callable[[Array, int], Array], integer_bits: int) -> Callable[[Array], Array]:
    return fast.table_of(lambda x: function(x, integer_bits), DType.INT16)


def _tabulated(function: Callable[[Array, int], Array]) -> Callable[[Array, int], Array]:
    def look_up(x: Array, integer_bits: int) -> Array:
        return _table(function, integer_bits)(x)

    return look_up


LITERAL = Functions(logistic_int16, tanh_int16)
TABULATED = Functions(_tabulated(logistic_int16), _tabulated(tanh_int16))


@dataclass(frozen=True, slots=True)
class ZeroPoints:
    """Zero points of the input, of the output state, and of the cells' outputs before the projection (hidden)."""

    input: int
    output: int
    hidden: int


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a cell, laid out for exact sums.

    Attributes
    ----------
    weights, recurrent
        One matrix a gate.
    bias, recurrent_bias
        int64, (cells,): what is added to the raw sums, zero points included; int32 values.
    peephole, norm, norm_bias
        (cells,) a gate, where the cell has them.
    projection, projection_bias
        The projection, if there is one.

    """

    weights: Mapping[Gate, exact.MatMul]
    bias: Mapping[Gate, Int64Array]
    recurrent: Mapping[Gate, exact.MatMul]
    recurrent_bias: Mapping[Gate, Int64Array]
    peephole: Mapping[Gate, Array]
    norm: Mapping[Gate, Array]
    norm_bias: Mapping[Gate, Array]
    projection: exact.MatMul | None
    projection_bias: Int64Array | None

    @classmethod
    def of(cls, found: Parameters, layout: Layout, zero_points: ZeroPoints) -> Weights:
        """Lay out what is among an op's inputs."""
        gates = layout.gates
        weights = {gate: _matrix(found.weights[gate]) for gate in gates}
        recurrent = {gate: _matrix(found.recurrent[gate]) for gate in gates}
        biases = {gate: _filled(found.bias[gate]) for gate in gates}
        projection = _matrix(found.projection) if layout.projection else None
        # The gate's bias goes into its first sum, or, with layer normalization, in at its end.
        first = {gate: np.zeros_like(bias) for gate, bias in biases.items()} if layout.norm else biases
        return cls(
            weights,
            {gate: _effective_bias(weights[gate], -zero_points.input, first[gate]) for gate in gates},
            recurrent,
            {gate: _effective_bias(recurrent[gate], -zero_points.output) for gate in gates},
            {gate: _filled(found.peephole[gate]) for gate in gates if found.peephole[gate] is not None},
            {gate: _filled(found.norm[gate]) for gate in gates} if layout.norm else {},
            biases,
            projection,
            None
            if projection is None
            # Hidden codes have the zero point negated, so it is added: see integer_step in lstm_integer.py.
            else _effective_bias(projection, zero_points.hidden, found.projection_bias),
        )


def _matrix(weights: Array | None) -> exact.MatMul:
    return exact.MatMul(_filled(weights).T, DType.INT8)


def _filled(array: Array | None) -> Int64Array:
    if array is None:
        raise ModelError("expected weights that the LSTM's layout asks for, found none")
    return array.astype(np.int64)


def _effective_bias(matrix: exact.MatMul, factor: int, bias: Array | None = None) -> Int64Array:
    """Return ``bias + factor * (sum of each unit's weights)`` in int32."""
    return wrap_int32(factor * matrix.weights.sum(axis=0) + (0 if bias is None else bias))


def normalized(gate: Int64Array, coefficients: Array, bias: Array, norm: Norm, blocks: Blocks) -> Int64Array:
    """Normalize each row to mean 0 and variance 1, scale it by the coefficients and add the bias.

    Quirk: Integer LSTM on Arm adds squares for layer normalization by fours in 32 bits: where they wrap around, the
    variance is too small.

    Quirk: Integer LSTM computes the variance in layer normalization with 2**20 / cells rounded down, so it is too
    small where the number of cells is not a power of two.

    1. ``mean = sum * 2**10 / cells``; ``variance = (sum of squares * (2**20 / cells) - mean**2) / 2**20``; quotients
       of integers, toward zero. A variance below 1 is replaced by the guard.
    2. ``(2**10 * gate - mean) / sqrt(variance)``, the inverse root as a fixed-point multiplier.
    3. Times the coefficients, plus bias; int32. Divide by 2**10, ties away from zero.
    4. Requantize by the coefficients' scale times 2**12; saturate to int16.
    """
    cells = gate.shape[1]
    mean = divide_toward_zero(gate.sum(axis=1, keepdims=True) * 1024, cells)
    squares = blocks.squares(gate) * ((1 << 20) // cells)
    variance = divide_toward_zero(squares - mean * mean, 1 << 20)
    inverse = inverse_square_root(np.where(variance < 1, norm.guard, variance))
    scaled = blocks.scaled(1024 * gate - mean, inverse, coefficients, bias)
    last = FixedPointMultiplier(norm.scale.multiplier, norm.scale.shift + 12)
    return saturate(blocks.apply(scaled, last, NORMALIZED), 16)
