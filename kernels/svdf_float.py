"""SVDF on float32 activations, with float32 weights or integer ones (hybrid). See ``svdf.py``.

Source: ``tflite/kernels/svdf.cc``, ``tflite/kernels/internal/reference/svdf.h``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.engine.activation import Activation, activate_float
from kernels.engine.contract import (
    choice,
    expect_dtype,
    input_tensor,
    option,
    optional_input,
    scale_of,
    unsupported,
)
from kernels.engine.float_sums import add_in_lanes, matmul_in_lanes
from kernels.engine.hybrid import ASYMMETRIC, SYMMETRIC, QuantizeRows
from kernels.engine.hybrid_matmul import MISREADS, IntegerMatrix
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.profiles import Profile
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array

BIAS, STATE = 3, 4
HYBRID_WEIGHTS = (DType.INT8, DType.UINT8)


@dataclass(frozen=True, slots=True)
class FloatSVDF(Prepared):
    """A prepared float32 SVDF."""

    rank: int
    activation: Activation

    updates = (STATE,)

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Sum over the features, then :func:`filter_in_time`."""
        x, features, times = (given(inputs, slot) for slot in range(3))
        start = np.zeros((x.shape[0], features.shape[0]), np.float32)
        newest = note("feature sums", matmul_in_lanes(start, x, features.T))
        return filter_in_time(newest, times, inputs[BIAS], given(inputs, STATE), self, note)


@dataclass(frozen=True, slots=True)
class HybridSVDF(Prepared):
    """A prepared SVDF of float32 activations with integer weights.

    Quirk: Hybrid SVDF ignores the zero points of its weights, and reads UINT8 weights as INT8.

    Attributes
    ----------
    rank, activation
        As for :class:`FloatSVDF`.
    quantize
        How the input's rows are quantized.
    features_scale, times_scale
        Of the weights.
    misreads
        Whether weights of -128 are misread.

    """

    rank: int
    activation: Activation
    quantize: QuantizeRows
    features_scale: np.float32
    times_scale: np.float32
    misreads: bool = True

    updates = (STATE,)

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`hybrid_svdf`."""
        return hybrid_svdf(
            inputs, IntegerMatrix.of(given(inputs, 1), misreads=self.misreads, in_pairs=not self.misreads), self, note
        )

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        if constants[1] is None:
            return lambda inputs: self.evaluate(inputs, silent)
        features = self._features(constants[1])
        return lambda inputs: hybrid_svdf(inputs, features, self, silent)

    def _features(self, weights: Array) -> IntegerMatrix:
        return IntegerMatrix.of(weights, misreads=self.misreads, in_pairs=not self.misreads)


def hybrid_svdf(inputs: Inputs, features: IntegerMatrix, op: HybridSVDF, note: Note) -> tuple[Array, Array]:
    """Filter one more vector of features; inputs and results as for :func:`kernels.svdf.svdf`, in float32.

    1. Quantize each row of the input with a scale of its own, and a zero point if inputs are quantized
       asymmetrically.
    2. accumulator: sum of ``features * (code - zero_point)``, int32.
    3. The newest entries of the state: accumulator times (row scale times features scale).
    4. Time weights become float32: code times scale.
    5. Steps of :func:`filter_in_time`.
    """
    x = given(inputs, 0)
    newest = np.zeros((x.shape[0], features.taps.shape[1]), np.float32)
    if x.any():
        rows = op.quantize(x)
        accumulator = note("accumulator", features.sums(rows))
        newest += accumulator.astype(np.float32) * (rows.scale * op.features_scale)[:, None]
    times = np.ascontiguousarray(given(inputs, 2)).view(np.int8).astype(np.float32) * op.times_scale
    return filter_in_time(note("feature sums", newest), times, inputs[BIAS], given(inputs, STATE), op, note)


def filter_in_time(
    newest: Float32Array,
    times: Float32Array,
    bias: Float32Array | None,
    state: Float32Array,
    op: FloatSVDF | HybridSVDF,
    note: Note,
) -> tuple[Array, Array]:
    """Update the state with the newest entries (batch, filters) and give the output and the state.

    1. The state forgets the oldest entry of each filter and takes the newest.
    2. Sum of times * state over the memory, in float32, in the order of the vector code.
    3. Sum over the ``rank`` filters of a unit, likewise; add the bias; apply the activation.
    """
    batch, (filters, memory) = newest.shape[0], times.shape
    kept = np.concatenate([state.reshape(batch, filters, memory)[..., 1:], newest[..., None]], axis=-1)
    time_sums = note("time sums", add_in_lanes(times * kept))
    sums = add_in_lanes(time_sums.reshape(batch, filters // op.rank, op.rank))
    if bias is not None:
        sums = sums + bias
    return activate_float(note("accumulator", sums), op.activation), kept.reshape(state.shape)


def prepare_float(op: OpView, rank: int, profile: Profile) -> Prepared:
    """Choose between the float32 and the hybrid form.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    features, times, bias = input_tensor(op, 1), input_tensor(op, 2), optional_input(op, BIAS)
    activation = choice(op, "fused_activation_function", Activation)
    if bias is not None:
        expect_dtype(bias, DType.FLOAT32)
    if (features.dtype, times.dtype) == (DType.FLOAT32, DType.FLOAT32):
        return FloatSVDF(rank, activation)
    if features.dtype not in HYBRID_WEIGHTS or times.dtype not in HYBRID_WEIGHTS:
        raise unsupported(op, "float32 with float32, INT8 or UINT8 weights")
    quantize = (ASYMMETRIC if option(op, "asymmetric_quantize_inputs") else SYMMETRIC)[profile]
    first, second = (np.float32(scale_of(tensor)) for tensor in (features, times))
    return HybridSVDF(rank, activation, quantize, first, second, MISREADS[profile])
