"""SVDF: a filter bank whose filters are a vector over features times a vector over time, of low rank.

At each invocation the input (batch, features) gives one number a filter, the newest of ``memory`` that are kept in a
variable tensor. An output unit adds up ``rank`` filters, each the product of its memory with its weights over time.

Here is the integer form; ``svdf_float.py`` has the float32 and the hybrid ones.

Quirk: LiteRT takes an int8 state of SVDF for int16, writes past its end and dies; quantref runs such a model under the
profiles of TFLite Micro alone.

Source: ``tflite/kernels/svdf.cc``, ``tflite/kernels/internal/reference/svdf.h``; with int8 state, TensorFlow Lite
Micro's ``svdf_common.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine import exact
from kernels.engine.activation import Activation
from kernels.engine.contract import (
    choice,
    expect,
    expect_count,
    expect_dtype,
    expect_rank,
    input_tensor,
    option,
    optional_input,
    output_tensor,
    scale_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.registry import Kernel
from kernels.engine.taps import Inner, Products, Reads, grid, indices
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, TensorView, given
from kernels.profiles import CMSIS_NN, LITERT_REFERENCE, TFLM, Profile, Rules
from kernels.svdf_float import prepare_float
from qmath.errors import UnsupportedError
from qmath.fixed_point import wrap, wrap_int32
from qmath.requantize import DOUBLE_ROUNDING, Regime, Requantize
from qmath.stages import Note, under
from qmath.types import ActivationRange, Array, DType, Float64Array, Int64Array

BIAS, STATE = 3, 4
#: Stages: what leads to the newest entries of the state, and the state with them, (batch, filters, memory).
NEWEST, STATE_AFTER = "newest", "state with the newest"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a runtime computes the integer form.

    Attributes
    ----------
    regime
        Of both requantizations.
    int8_state
        Whether state and time weights may be INT8; they are INT16 otherwise.
    relu_only
        Whether the fused activation must be RELU. It is not applied in any case.
    newest_wraps
        Whether the newest entries of an INT8 state saturate to INT16 and then wrap.

    """

    regime: Regime
    int8_state: bool
    relu_only: bool
    newest_wraps: bool = False


ARITHMETIC: Rules[Arithmetic] = Rules(
    "SVDF",
    {
        LITERT_REFERENCE: Arithmetic(DOUBLE_ROUNDING, int8_state=False, relu_only=True),
        TFLM: Arithmetic(DOUBLE_ROUNDING, int8_state=True, relu_only=False),
        CMSIS_NN: Arithmetic(DOUBLE_ROUNDING, int8_state=True, relu_only=False, newest_wraps=True),
    },
)


@dataclass(frozen=True, slots=True)
class SVDF(Prepared):
    """A prepared integer SVDF.

    Attributes
    ----------
    rank
        Filters that an output unit adds up.
    input_zero_point, state_zero_point
        Of input and state; an INT16 state has 0.
    remember
        From the sum over features to the newest entry of the state, before the state's zero point is added.
    requantize
        From the sum over time to the output.

    """

    rank: int
    input_zero_point: int
    state_zero_point: int
    remember: Requantize
    requantize: Requantize

    updates = (STATE,)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return the state times the time weights, and what makes the newest entry of the unit's first filter."""
        batch, unit = index
        first, (_, memory) = unit * self.rank, given(inputs, 2).shape
        taps = grid(range(first, first + self.rank), range(memory))
        features = np.arange(given(inputs, 0).shape[1])
        sums = (Reads(0, indices(batch, features), self.input_zero_point), Reads(1, indices(first, features)))
        return Products(
            (Reads(STATE_AFTER, indices(batch, *taps.T), self.state_zero_point), Reads(2, taps)),
            inner=Inner(Products(sums, stage=f"{NEWEST}: feature sum"), (batch, first)),
        )

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`svdf`."""
        x, features, times = (given(inputs, slot) for slot in range(3))
        return svdf(x, features, times, inputs[BIAS], given(inputs, STATE), self, note)


def svdf(
    x: Array, features: Array, times: Array, bias: Array | None, state: Array, op: SVDF, note: Note
) -> tuple[Array, Array]:
    """Filter one more vector of features.

    Quirk: Integer SVDF asks for the fused activation RELU, but clamps its output to the whole range of int8.

    Quirk: Integer SVDF ignores the zero points of its weights.

    Quirk: CMSIS-NN's SVDF with INT8 state lets the newest entries of the state wrap where TFLite Micro's saturate.

    Parameters
    ----------
    x
        int8, shape (batch, features): quantized.
    features
        int8, shape (filters, features): quantized.
    times
        int16 or int8, shape (filters, memory): quantized, oldest first.
    bias
        int32, shape (units,), or None.
    state
        int16 or int8, shape (batch, filters * memory): quantized, oldest first.
    op
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    y
        int8, shape (batch, units): quantized.
    state
        The new state.

    Notes
    -----
    1. newest: feature sum: sum of ``features * (x - input_zero_point)``; int32.
    2. Requantize to the state's type (or to int16, and wrap), add the state's zero point: the newest entry.
    3. The state forgets the oldest entry of each filter and takes that as its newest.
    4. time sums: sum of ``times * (state - state_zero_point)`` over the memory; int32, wrapping.
    5. accumulator: sum over the ``rank`` filters of a unit, plus bias; int32, wrapping.
    6. Requantize to the output.

    """
    (batch, _), (filters, memory) = x.shape, times.shape
    real = x.astype(np.int64) - op.input_zero_point
    inside = under(note, NEWEST)
    sums = inside("feature sum", wrap_int32(exact.matmul(real, features.astype(np.int64).T)))
    remembered = op.remember(sums, inside).astype(np.int64)
    bits, offset = _bits(state), np.asarray(op.state_zero_point)
    newest = wrap(remembered + op.state_zero_point, bits)
    inside("entry", newest, f"wrap(remembered + zero_point, {bits})", remembered=remembered, zero_point=offset)
    state = note(STATE_AFTER, shifted(state.reshape(batch, filters, memory), newest))
    time_sums = _time_sums(state, times, op)
    total = note("sum", time_sums.reshape(batch, filters // op.rank, op.rank).sum(axis=2))
    added = np.zeros(filters // op.rank, np.int64) if bias is None else bias.astype(np.int64)
    accumulator = note("accumulator", wrap_int32(total + added), "wrap(sum + bias)", sum=total, bias=added)
    return op.requantize(accumulator, note), state.reshape(batch, filters * memory)


def shifted(state: Array, newest: Array) -> Array:
    """Drop the oldest entry of each filter's memory, on the last axis, and append the newest."""
    return np.concatenate([state[..., 1:], newest[..., None].astype(state.dtype)], axis=-1)


def _time_sums(state: Array, times: Array, op: SVDF) -> Int64Array:
    return wrap_int32((times.astype(np.int64) * (state.astype(np.int64) - op.state_zero_point)).sum(axis=2))


def _bits(codes: Array) -> int:
    return 8 * codes.dtype.itemsize


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of SVDF and derive its two multipliers.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered, or not under the profile.

    """
    expect_count(op, {5})
    x, features, state = input_tensor(op, 0), input_tensor(op, 1), input_tensor(op, STATE)
    rank = _check_shapes(op)
    expect(state.is_variable, f"a variable tensor as the state, found {state.name!r}")
    if (x.dtype, output_tensor(op).dtype, state.dtype) == (DType.FLOAT32, DType.FLOAT32, DType.FLOAT32):
        return prepare_float(op, rank, profile)
    if (x.dtype, features.dtype, output_tensor(op).dtype) == (DType.INT8, DType.INT8, DType.INT8):
        return _prepare_integer(op, rank, ARITHMETIC[profile])
    raise unsupported(op, "; ".join(KERNELS[0].covers))


def _check_shapes(op: OpView) -> int:
    """Check the shapes against each other and return the rank."""
    x, features, times, state = (input_tensor(op, slot) for slot in (0, 1, 2, STATE))
    for tensor in (x, features, times, state):
        expect_rank(tensor, 2)
    rank, filters, memory = int(option(op, "rank")), *times.shape
    expect(rank > 0 and filters % rank == 0, f"a rank that divides {filters} filters, found {rank}")
    expect(memory > 0, f"a memory of at least one entry, found {times.shape}")
    wanted = ((filters, x.shape[1]), (x.shape[0], filters * memory))
    found = (features.shape, state.shape)
    expect(found == wanted, f"feature weights and state of shapes {wanted}, found {found}")
    bias = optional_input(op, BIAS)
    expect(bias is None or bias.shape == (filters // rank,), f"{filters // rank} biases, found {bias and bias.shape}")
    return rank


def _prepare_integer(op: OpView, rank: int, arithmetic: Arithmetic) -> SVDF:
    x, features, times, state = (input_tensor(op, slot) for slot in (0, 1, 2, STATE))
    y, bias = output_tensor(op), optional_input(op, BIAS)
    if (times.dtype, state.dtype) == (DType.INT8, DType.INT8) and not arithmetic.int8_state:
        msg = "SVDF with INT8 state: the runtime takes it for INT16, writes past its end and crashes"
        raise UnsupportedError(msg)
    if times.dtype is not state.dtype or state.dtype not in {DType.INT16, DType.INT8}:
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    if bias is not None:
        expect_dtype(bias, DType.INT32)
    if arithmetic.relu_only:
        activation = choice(op, "fused_activation_function", Activation)
        expect(activation is Activation.RELU, f"the fused activation RELU, found {activation.name}")
    state_zero_point = zero_point_of(state) if state.dtype is DType.INT8 else 0
    newest = DType.INT16 if arithmetic.newest_wraps else state.dtype
    return SVDF(
        rank,
        zero_point_of(x),
        state_zero_point,
        Requantize(arithmetic.regime, _ratio(x, features, state), 0, _range(newest), newest),
        Requantize(arithmetic.regime, _ratio(state, times, y), zero_point_of(y), _range(y.dtype), y.dtype),
    )


def _ratio(first: TensorView, second: TensorView, result: TensorView) -> Float64Array:
    """Return ``first * second / result`` of the scales, every step in float32."""
    scales = [np.float32(scale_of(tensor)) for tensor in (first, second, result)]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return np.asarray(scales[0] * scales[1] / scales[2], np.float64)


def _range(dtype: DType) -> ActivationRange:
    return ActivationRange(dtype.min, dtype.max)


KERNELS = (
    Kernel(
        "SVDF",
        prepare,
        covers=(
            "int8, state and time weights int16",
            "the same with int8 in TFLite Micro",
            "float32 x int8 or uint8 (hybrid)",
            "float32",
        ),
    ),
)
