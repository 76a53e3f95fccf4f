"""FULLY_CONNECTED of float32 activations with int4 weights in LiteRT's optimized kernels, where rows are long enough.

Source: ``tflite/kernels/fully_connected.cc`` (EvalHybridDense4Bit),
``tflite/kernels/internal/optimized/4bit/sse_fully_connected.cc``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine.activation import Activation, activate_float
from kernels.engine.hybrid import QuantizedRows
from kernels.engine.hybrid_matmul import IntegerMatrix
from kernels.engine.rows import Rows
from kernels.engine.taps import Products, Reads, indices
from kernels.engine.types import Inputs, Outputs, Prepared, Runner, TensorView, given
from qmath.errors import UnsupportedError
from qmath.rounding import round_half_away_from_zero
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array, Int8Array

#: The kernel multiplies blocks of this many units and elements, and leaves smaller ops to another.
UNITS, DEPTH = 4, 32
#: Weights are stored with this much added, as unsigned nibbles.
OFFSET = 7
BIAS = 2


@dataclass(frozen=True, slots=True)
class FourBitFullyConnected(Prepared):
    """A prepared FULLY_CONNECTED with float32 activations and int4 weights.

    Attributes
    ----------
    rows
        How the input is cut.
    weights_scale
        float32, shape ``(1,)`` or ``(units,)``.
    activation
        Applied at the end.

    """

    rows: Rows
    weights_scale: Float32Array
    activation: Activation

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`four_bit_fully_connected`."""
        return (four_bit_fully_connected(given(inputs, 0), nibbles(given(inputs, 1)), _bias(inputs), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return one row of the weights times the codes of one row of the input; nibbles have 7 added."""
        row, _, weights = self.rows.products(given(inputs, 0).shape, index)
        codes = Reads("quantized input", indices(row, np.arange(self.rows.depth)))
        return Products((codes, Reads("nibbles", weights)), stage="accumulator")

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once."""
        if constants[1] is None:
            return partial(self.evaluate, note=silent)
        matrix = nibbles(constants[1])
        laid_out = IntegerMatrix.of(matrix, misreads=False)
        return lambda inputs: (
            four_bit_fully_connected(given(inputs, 0), matrix, _bias(inputs), self, silent, laid_out),
        )


def _bias(inputs: Inputs) -> Float32Array | None:
    return inputs[BIAS] if len(inputs) > BIAS else None


def nibbles(weights: Array) -> Array:
    """Return weights (units, depth) as the kernel stores them: plus 7, four bits without a sign.

    In blocks of 32 columns, two nibbles 16 columns apart share a byte. -8 plus 7 is -1, all bits of the byte: in the
    first nibble it is cut to 15, in the second it makes 15 of both. And where a whole block is shifted as words of two
    bytes, a -1 in the first nibble of a word's lower byte spills into the second nibble of its upper byte.
    """
    units, depth = weights.shape
    blocks = -(-depth // DEPTH)
    stored = np.zeros((units, blocks * DEPTH), np.int8)
    stored[:, :depth] = weights
    # Nibbles of the first and of the second half, by word, byte of the word, and place in the file's byte.
    halves = stored.reshape(units, blocks, 2, 4, 2, 2)
    lowest = halves == DType.INT4.min
    halves += OFFSET
    halves &= 15
    halves[:, :, 0][lowest[:, :, 1]] = 15
    whole = depth // DEPTH
    halves[:, :whole, 1, :, 1][lowest[:, :whole, 0, :, 0]] = 15
    return stored[:, :depth]


def quantize_rows(real: Float32Array) -> QuantizedRows:
    """Quantize each row symmetrically: ``code = half_away(real * float32(127 / largest))``, largest in magnitude."""
    largest = np.abs(real).max(axis=1, initial=0)
    largest = np.where(largest == 0, np.float32(127), largest).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = (127.0 / largest).astype(np.float32)
        codes = round_half_away_from_zero(np.asarray(real * inverse[:, None], np.float32))
    clipped: Int8Array = np.clip(np.nan_to_num(codes), -128, 127).astype(np.int8)
    return QuantizedRows(clipped, (largest / 127.0).astype(np.float32), np.zeros(len(real), np.int64))


def four_bit_fully_connected(
    x: Float32Array,
    weights: Array,
    bias: Float32Array | None,
    fc: FourBitFullyConnected,
    note: Note = silent,
    laid_out: IntegerMatrix | None = None,
) -> Array:
    """Quantize each row on the fly, multiply with nibbles, take what was added to them away, scale back.

    Quirk: LiteRT's optimized FULLY_CONNECTED with int4 weights and float32 rows of at least 32 elements ignores
    ``asymmetric_quantize_inputs``, and reads a weight of -8 as 8, and with it some weights that
    share its byte or its word.

    1. quantized input: each row by :func:`quantize_rows`.
    2. start: ``(row scale * (-7 * sum of the row's codes)) * weights scale``, plus the bias; each step in float32.
    3. accumulator: sum over the depth of ``nibble * code``, int32.
    4. Add the accumulator times row scale, times weights scale; each step in float32.
    5. Apply the activation.
    """
    rows = quantize_rows(fc.rows.of(x))
    note("quantized input", rows.codes)
    note("nibbles", weights)
    scale = rows.scale[:, None]
    added = (-OFFSET * rows.codes.sum(axis=1, dtype=np.int64))[:, None].astype(np.float32)
    start = np.asarray((added * scale) * fc.weights_scale, np.float32)
    if bias is not None:
        start = np.asarray(start + bias.reshape(-1), np.float32)
    note("start", start)
    matrix = laid_out or IntegerMatrix.of(weights, misreads=False)
    accumulator = note("accumulator", matrix.sums(rows))
    scaled = np.asarray((accumulator.astype(np.float32) * scale) * fc.weights_scale, np.float32)
    rule = "float32(float32(float32(accumulator) * row_scale) * weights_scale)"
    note("scaled", scaled, rule, accumulator=accumulator, row_scale=scale, weights_scale=fc.weights_scale)
    total = note("added", np.asarray(start + scaled), "float32(start + scaled)", start=start, scaled=scaled)
    shape = fc.rows.output_shape(x.shape)
    return activate_float(np.broadcast_to(total, (len(rows.codes), fc.rows.units)).copy(), fc.activation).reshape(shape)


def takes(x: TensorView, weights: TensorView, rows: Rows) -> bool:
    """Whether the kernel takes an op.

    Raises
    ------
    UnsupportedError
        It takes it, and reads past the end of a row.

    """
    size = math.prod(x.shape)
    batch = size // rows.depth
    columns = size // batch if batch else 0
    fits = columns % 2 == 0 and columns >= DEPTH and rows.units >= UNITS
    if weights.dtype is not DType.INT4 or weights.data is None or not fits:
        return False
    if columns != rows.depth:
        raise UnsupportedError(f"FULLY_CONNECTED with int4 weights and shape {x.shape}: the runtime reads unset memory")
    return True
