"""FULLY_CONNECTED of float32 activations with integer weights ("dynamic range" quantization).

Source: ``tflite/kernels/fully_connected.cc`` (EvalHybridDense),
``tflite/kernels/internal/optimized/sse_tensor_utils.cc`` (SseMatrixBatchVectorMultiplyAccumulateImpl).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kernels.engine.activation import Activation, activate_float
from kernels.engine.contract import expect, input_tensor, option, quant_of, unsupported
from kernels.engine.hybrid import ASYMMETRIC, CODES, SYMMETRIC, QuantizedRows, QuantizeRows
from kernels.engine.hybrid_matmul import IntegerMatrix, refuses_other_sums
from kernels.engine.hybrid_xnnpack import XNNPACK_HYBRID
from kernels.engine.row_ends import LANES
from kernels.engine.rows import Rows
from kernels.engine.runs import blocks_of_rows
from kernels.engine.taps import Products, Reads, indices
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, given
from kernels.fully_connected_4bit import FourBitFullyConnected, takes
from kernels.fully_connected_integer import BIAS
from kernels.fully_connected_stored import BLOCK, expect_blocks
from kernels.profiles import LITERT_OPTIMIZED, LITERT_OPTIMIZED_ARM64, LITERT_REFERENCE, XNNPACK, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.rounding import fused_multiply_add
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array, Int64Array

#: Blocks of a row of sparse weights are counted, and numbered, in a byte.
MAX_BLOCKS = 256
#: Types of weights; UINT8 is read as INT8.
HYBRID_WEIGHTS = (DType.INT8, DType.UINT8, DType.INT4, DType.INT2)


@dataclass(frozen=True, slots=True)
class HybridFullyConnected(Prepared):
    """A prepared FULLY_CONNECTED with float32 activations and integer weights.

    Attributes
    ----------
    rows
        How the input is cut.
    quantize
        How rows are quantized: symmetrically or asymmetrically.
    weights_scale
        float32, shape ``(1,)``, or ``(units,)`` where it differs by unit.
    activation
        Applied at the end.
    sparse
        Whether the weights are stored sparsely: then another kernel adds, in another order.
    fused
        Whether the last product and the sum are rounded once.
    misreads
        Whether weights of -128 are misread, and long sums of weights wrap around, as in x86-64's vector code.
    keeps_sums
        Whether the sums of the weights in the first run are used in all others.

    """

    rows: Rows
    quantize: QuantizeRows
    weights_scale: Float32Array
    activation: Activation
    sparse: bool
    fused: bool = False
    misreads: bool = True
    keeps_sums: bool = False

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`hybrid_fully_connected`."""
        matrix = IntegerMatrix.of(given(inputs, 1), misreads=self.misreads)
        return (hybrid_fully_connected(given(inputs, 0), matrix, _bias(inputs), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return one row of the weights times the codes of one row of the input."""
        x = given(inputs, 0)
        row, _, weights = self.rows.products(x.shape, index)
        zero_point = 0 if self.sparse else int(self.quantize(self.rows.of(x)).zero_point[row])
        codes = Reads(CODES, indices(row, np.arange(self.rows.depth)), zero_point)
        plain = IntegerMatrix.of(given(inputs, 1), misreads=self.misreads).is_plain
        return Products((codes, Reads(1, weights)), stage="accumulator" if plain else "sum")

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        if constants[1] is None:
            run = partial(self.evaluate, note=silent)
            return refuses_other_sums(run, _sums_of_weights, "weights") if self.keeps_sums else run
        matrix = IntegerMatrix.of(constants[1], misreads=self.misreads)
        return lambda inputs: (hybrid_fully_connected(given(inputs, 0), matrix, _bias(inputs), self),)


def hybrid_fully_connected(
    x: Float32Array, weights: IntegerMatrix, bias: Float32Array | None, fc: HybridFullyConnected, note: Note = silent
) -> Array:
    """Quantize each row on the fly, multiply with integer weights, scale back.

    Quirk: Hybrid FULLY_CONNECTED ignores the zero points of its weights, and reads UINT8 weights as INT8.

    Quirk: On x86-64, hybrid FULLY_CONNECTED, LSTM, RNN and SVDF take the product of a weight -128 and a negative code
    for a negative number, except in the last columns that do not fill a group of 16.

    Quirk: On x86-64, hybrid FULLY_CONNECTED, BATCH_MATMUL, LSTM, RNN and SVDF that quantize their inputs asymmetrically
    sum the weights of a unit in eight 16-bit lanes, which may wrap around beyond 2,048 columns: the sum is then wrong
    by a multiple of ``2**16``.

    Quirk: Hybrid FULLY_CONNECTED and BATCH_MATMUL that quantize their inputs asymmetrically sum their weights in the
    first run alone. Weights that are no constant and change later meet the sums of the first ones; quantref refuses
    them.

    Parameters
    ----------
    x
        float32, any shape.
    weights
        The weights, (units, depth).
    bias
        float32, shape (units,), or None.
    fc
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    float32, shape (rows, units), or that of ``x`` with ``units`` last.

    Notes
    -----
    1. Cut ``x`` into rows of ``depth`` elements. Each row's result starts as the bias, or 0. If all of ``x`` is zero,
       go to 6.
    2. Quantize each row with a scale of its own, and a zero point if inputs are quantized asymmetrically.
    3. accumulator: sum over the depth of ``weights * (code - zero_point)``, int32.
    4. Scale of the product: row scale times weights scale, in float32.
    5. Add the accumulator times that scale to the result: two float32 operations, or one where it is fused. Sparse
       weights: take
       ``(row scale times weights scale times zero_point) * (sum of the unit's weights)`` away from the result, each
       step in float32, then add ``(sum of weights * code)`` times the scale.
    6. Apply the activation.

    """
    rows = fc.rows.of(x)
    start = np.zeros(fc.rows.units, np.float32) if bias is None else bias.reshape(-1)
    result = np.repeat(start[None], len(rows), axis=0)
    if not _is_zero(x):
        quantized = fc.quantize(rows, note)
        scale = quantized.scale[:, None] * fc.weights_scale
        if fc.sparse and quantized.zero_point.any():
            result -= _correction(quantized, weights, fc)
            quantized = replace(quantized, zero_point=np.zeros_like(quantized.zero_point))
        accumulator = weights.sums(quantized, note)
        note("scale", scale, "float32(row_scale * weights_scale)", **_scales(quantized, fc))
        result = _added(accumulator, scale, result, fc, note)
    return activate_float(result, fc.activation, note).reshape(fc.rows.output_shape(x.shape))


def _is_zero(x: Float32Array) -> bool:
    """Whether the runtime finds all of ``x`` to be zero; a NaN is not looked at but in what fills no lanes."""
    in_lanes, left_over = np.split(x.reshape(-1), [x.size // LANES * LANES])
    return not (np.abs(in_lanes) > 0).any() and not left_over.any()


def _added(
    accumulator: Array, scale: Float32Array, start: Float32Array, fc: HybridFullyConnected, note: Note
) -> Float32Array:
    real = accumulator.astype(np.float32)
    terms = {"accumulator": accumulator, "scale": scale}
    if fc.fused:
        fused = fused_multiply_add(real, scale, start)
        return note("added", fused, "float32(float32(accumulator) * scale + start)", start=start, **terms)
    scaled = note("scaled", real * scale, "float32(float32(accumulator) * scale)", **terms)
    return note("added", np.asarray(start + scaled), "float32(start + scaled)", start=start, scaled=scaled)


def _scales(rows: QuantizedRows, fc: HybridFullyConnected) -> dict[str, Float32Array]:
    return {"row_scale": rows.scale[:, None], "weights_scale": fc.weights_scale}


def _correction(rows: QuantizedRows, weights: IntegerMatrix, fc: HybridFullyConnected) -> Float32Array:
    """Return what the zero points contribute, in the order in which the sparse kernel multiplies."""
    zero_point = rows.zero_point.astype(np.float32)
    if fc.weights_scale.size == 1:
        scaled = ((rows.scale * fc.weights_scale) * zero_point)[:, None]
    else:
        scaled = (rows.scale * zero_point)[:, None] * fc.weights_scale
    return np.asarray(scaled * weights.row_sums.astype(np.float32), np.float32)


def _sums_of_weights(inputs: Inputs) -> Int64Array:
    return np.asarray(given(inputs, 1).view(np.int8).sum(axis=-1, dtype=np.int64))


def _bias(inputs: Inputs) -> Float32Array | None:
    return inputs[BIAS] if len(inputs) > BIAS else None


@dataclass(frozen=True, slots=True)
class DynamicFullyConnected(Prepared):
    """A prepared FULLY_CONNECTED with float32 activations and integer weights, as XNNPACK computes it.

    Attributes
    ----------
    rows
        How the input is cut.
    weights_scale
        float32, shape ``(1,)``, or ``(units,)`` where it differs by unit.
    activation
        Applied at the end.

    """

    rows: Rows
    weights_scale: Float32Array
    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`dynamic_fully_connected`."""
        matrix = IntegerMatrix.of(given(inputs, 1), misreads=False)
        return (dynamic_fully_connected(given(inputs, 0), matrix, _bias(inputs), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return one row of the weights times the codes of one row of the input."""
        x = given(inputs, 0)
        row, _, weights = self.rows.products(x.shape, index)
        zero_point = int(XNNPACK_HYBRID.quantize(self.rows.of(x)).zero_point[row])
        codes = Reads(CODES, indices(row, np.arange(self.rows.depth)), zero_point)
        return Products((codes, Reads(1, weights)), stage="accumulator")

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once, and multiply rows in blocks that stay in the inner caches."""
        if constants[1] is None:
            return partial(self.evaluate, note=silent)
        matrix = IntegerMatrix.of(constants[1], misreads=False)

        def run(inputs: Inputs) -> Outputs:
            x, bias = given(inputs, 0), _bias(inputs)
            rows = self.rows.of(x)
            out = np.empty((len(rows), self.rows.units), np.float32)
            for block in blocks_of_rows(len(rows), max(self.rows.depth, self.rows.units)):
                quantized = XNNPACK_HYBRID.quantize(rows[block])
                accumulator = matrix.float_sums(quantized)
                real = XNNPACK_HYBRID.with_bias(accumulator, self.weights_scale, quantized, bias)
                out[block] = activate_float(real, self.activation, keeps_nan=True)
            return (out.reshape(self.rows.output_shape(x.shape)),)

        return run


def dynamic_fully_connected(
    x: Float32Array, weights: IntegerMatrix, bias: Float32Array | None, fc: DynamicFullyConnected, note: Note = silent
) -> Array:
    """Quantize each row on the fly, multiply with integer weights, scale back: XNNPACK.

    1. quantized input: each row by :func:`~kernels.engine.hybrid_xnnpack.quantize_in_float32`.
    2. accumulator: sum over the depth of ``weights * (code - zero_point)``, int32.
    3. Times the row's scale, in float32; then times the weights' scale plus the bias, rounded once to float32.
    4. Apply the activation.

    Source: XNNPACK ``src/qd8-f32-qc8w-gemm``, ``src/qd8-f32-qc4w-gemm``.
    """
    quantized = XNNPACK_HYBRID.quantize(fc.rows.of(x), note)
    accumulator = weights.sums(quantized, note)
    real = XNNPACK_HYBRID.with_bias(accumulator, fc.weights_scale, quantized, bias, note)
    return activate_float(real, fc.activation, note, keeps_nan=True).reshape(fc.rows.output_shape(x.shape))


#: Whether a row's last product and its sum with the bias are one instruction.
FUSED: Rules[bool] = Rules(
    "FULLY_CONNECTED with float32 activations", {LITERT_REFERENCE: False, LITERT_OPTIMIZED_ARM64: True}
)


#: Whether weights of -128 are misread.
MISREADS: Rules[bool] = Rules(
    "FULLY_CONNECTED with float32 activations", {LITERT_REFERENCE: True, LITERT_OPTIMIZED_ARM64: False}
)
#: Whether int4 weights have a kernel of their own; None where it is not known how that computes.
FOUR_BIT: Rules[bool | None] = Rules(
    "FULLY_CONNECTED with float32 activations and int4 weights",
    {LITERT_REFERENCE: False, LITERT_OPTIMIZED: True, LITERT_OPTIMIZED_ARM64: None},
)


def prepare_hybrid(
    op: OpView, rows: Rows, activation: Activation, profile: Profile
) -> HybridFullyConnected | DynamicFullyConnected | FourBitFullyConnected:
    """Check what only the hybrid form asks for, and choose how rows are quantized.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        How sparse weights are stored is not covered.

    """
    x, weights = input_tensor(op, 0), input_tensor(op, 1)
    scaling, sparse = quant_of(weights), weights.sparsity is not None
    if sparse:
        if weights.dtype is not DType.INT8:
            raise unsupported(op, "sparse weights of int8 or float32")
        expect_blocks(op, weights)
        blocks = rows.depth // BLOCK
        if blocks >= MAX_BLOCKS:
            raise UnsupportedError(
                f"{op.name} with sparse weights needs fewer than {MAX_BLOCKS} blocks, found {blocks}"
            )
        expect(x.shape[-1:] == (rows.depth,), f"input rows of {rows.depth} elements, found shape {x.shape}")
    if scaling.per_axis:
        units, axis = scaling.scale.size, scaling.quantized_dimension
        expect(axis == 0 and units == rows.units, f"{rows.units} scales along axis 0, found {units} along axis {axis}")
    if XNNPACK in profile.lineage:
        return DynamicFullyConnected(rows, scaling.scale, activation)
    four_bit = FOUR_BIT[profile]
    if four_bit is not False and takes(x, weights, rows):
        if four_bit is None:
            raise UnsupportedError(f"{op.name} with float32 rows and int4 weights is not covered under {profile.name}")
        return FourBitFullyConnected(rows, scaling.scale, activation)
    asymmetric = bool(option(op, "asymmetric_quantize_inputs"))
    quantize = (ASYMMETRIC if asymmetric else SYMMETRIC)[profile]
    return HybridFullyConnected(
        rows, quantize, scaling.scale, activation, sparse, FUSED[profile], MISREADS[profile], keeps_sums=asymmetric
    )
