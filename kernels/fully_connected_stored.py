"""FULLY_CONNECTED with int8 weights that files hold sparsely, or with uint8 weights that they hold in blocks.

Source: ``tflite/kernels/fully_connected.cc``, ``tflite/kernels/internal/optimized/sparse_ops/fully_connected.h``,
``tflite/kernels/internal/optimized/neon_tensor_utils.cc`` (SparseMatrixBatchVectorMultiplyAccumulate1x16),
``tflite/kernels/internal/reference/fully_connected.h`` (ShuffledFullyConnected).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine import exact
from kernels.engine.activation import Activation
from kernels.engine.contract import expect, input_tensor, optional_input, output_tensor, quant_of, unsupported
from kernels.engine.convolution import with_bias
from kernels.engine.rows import Rows
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.fully_connected_integer import BIAS, FullyConnected, bias_of, prepare_integer
from kernels.profiles import LITERT_OPTIMIZED, LITERT_REFERENCE, Profile, Rules
from qmath.errors import UnsupportedError
from qmath.stages import Note, silent
from qmath.types import Array, BoolArray, DType, Int64Array

#: Elements of a block of sparse weights.
BLOCK = 16
#: Rows and columns of a block of shuffled weights.
SHUFFLED = 4, 16
#: Whether the fused activation is applied where weights are shuffled.
SHUFFLED_CLAMPS: Rules[bool] = Rules(
    "FULLY_CONNECTED with shuffled weights", {LITERT_REFERENCE: True, LITERT_OPTIMIZED: False}
)
#: The sign bit of a byte.
SIGN = np.uint8(0x80)


@dataclass(frozen=True, slots=True)
class SparseFullyConnected(Prepared):
    """FULLY_CONNECTED with int8 weights stored in blocks of 1x16: all but the vector code's sum is as for dense ones.

    Attributes
    ----------
    dense
        The op with dense weights.

    """

    dense: FullyConnected

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`sparse_fully_connected`."""
        bias = None if self.dense.bias is None else given(inputs, BIAS)
        return (sparse_fully_connected(given(inputs, 0), given(inputs, 1), bias, self.dense, note),)

    def compile(self, constants: Inputs) -> Runner:
        """Take the dense form, where no weights can overflow."""
        if constants[1] is None or _lowest_pairs(constants[1]).any():
            return partial(self.evaluate, note=silent)
        return self.dense.compile(constants)


def sparse_fully_connected(x: Array, weights: Array, bias: Array | None, fc: FullyConnected, note: Note) -> Array:
    """Multiply rows of codes with a sparse matrix.

    Quirk: FULLY_CONNECTED with sparse INT8 weights adds the products of elements 8 apart in 16 bits: where both are
    (-128) * (-128), their sum comes out as -32768.

    1. Steps 1 and 2 of :func:`~kernels.fully_connected_integer.fully_connected`; zero points and bias enter later,
       so it is products of codes that overflow.
    2. sum: less 65536 for each pair that overflows.
    3. Bias and requantization, as there; the multiplier is a fixed-point number.
    """
    rows = fc.rows.of(x)
    sums = exact.matmul(rows.astype(np.int64) - fc.input_zero_point, weights.astype(np.int64).T)
    overflows = exact.matmul(_lowest_pairs(rows).astype(np.int64), _lowest_pairs(weights).astype(np.int64).T)
    accumulator: Int64Array = with_bias(sums - (overflows << 16), bias_of(bias, fc), fc.accumulator, note)
    return fc.requantize(accumulator, note).reshape(fc.rows.output_shape(x.shape))


def _lowest_pairs(codes: Array) -> BoolArray:
    """Tell for each pair of elements 8 apart in a block, (rows, pairs), whether both are -128."""
    rows, depth = codes.shape
    lowest = codes.reshape(rows, depth // BLOCK, 2, BLOCK // 2) == np.iinfo(np.int8).min
    return np.asarray(lowest.all(axis=2).reshape(rows, depth // 2))


def expect_blocks(op: OpView, weights: TensorView) -> None:
    """Check that sparse weights are stored in blocks of 1x16, row by row.

    Raises
    ------
    UnsupportedError
        They are not.

    """
    sparsity = weights.sparsity
    levels = () if sparsity is None else sparsity.dim_metadata or ()
    formats = [level.format for level in levels]
    if sparsity is None or formats != [0, 1, 0] or levels[2].dense_size != BLOCK:
        raise UnsupportedError(f"{op.name} with sparse weights needs blocks of 1x{BLOCK}, found others")
    order = (sparsity.traversal_order, sparsity.block_map)
    if order != ((0, 1, 2), (1,)):
        raise UnsupportedError(f"{op.name} with sparse weights needs blocks of 1x{BLOCK} in rows, found order {order}")


def prepare_sparse(op: OpView, rows: Rows, activation: Activation, profile: Profile) -> SparseFullyConnected:
    """Check what only sparse weights ask for.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types, or how the weights are stored, is not covered.

    """
    x, weights = input_tensor(op, 0), input_tensor(op, 1)
    if (x.dtype, weights.dtype) != (DType.INT8, DType.INT8):
        raise unsupported(op, "sparse weights of int8 with int8 or float32 activations, or of float32")
    expect_blocks(op, weights)
    expect(x.shape[-1:] == (rows.depth,), f"input rows of {rows.depth} elements, found shape {x.shape}")
    expect(not quant_of(weights).zero_point.any(), "zero points 0 of sparse weights, found others")
    return SparseFullyConnected(prepare_integer(op, rows, activation, profile, stored=True))


@dataclass(frozen=True, slots=True)
class ShuffledFullyConnected(Prepared):
    """FULLY_CONNECTED from uint8 to int16 with weights stored in blocks of 4x16, their sign bits flipped.

    Attributes
    ----------
    plain
        The op with weights in rows.

    """

    plain: FullyConnected

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`shuffled_fully_connected`."""
        return shuffled_fully_connected(given(inputs, 0), given(inputs, 1), given(inputs, BIAS), self.plain, note)


def shuffled_fully_connected(
    x: Array, weights: Array, bias: Array, fc: FullyConnected, note: Note
) -> tuple[Array, Array]:
    """Multiply 1 or 4 rows of codes with a matrix.

    Quirk: FULLY_CONNECTED with shuffled weights takes all zero points of input and weights for 128, and the output's
    for 0.

    Parameters
    ----------
    x
        uint8, 1 or 4 rows: quantized.
    weights
        uint8, (units, depth) in blocks: blocks of 4 units after each other, in each blocks of 16 columns, in each the
        rows; with flipped sign bits.
    bias
        int32, shape (units,).
    fc
        The prepared op.
    note
        Receives the stages.

    Returns
    -------
    y
        int16, shape (rows, units), or that of ``x`` with ``units`` last.
    workspace
        uint8, shape (rows, depth): the input in blocks of 16 columns, with flipped sign bits.

    Notes
    -----
    1. Cut ``x`` into rows and put the weights' blocks in their places.
    2. sum: over the depth, of ``(weights - 128) * (x - 128)``.
    3. accumulator: the sum plus bias; int32, wrapping.
    4. Requantize by a fixed-point multiplier and clamp.

    """
    rows = fc.rows.of(x)
    if len(rows) not in {1, 4}:
        raise UnsupportedError(f"expected 1 or 4 rows beside shuffled weights, found {len(rows)}: nothing is computed")
    flipped = rows ^ SIGN
    high, wide = SHUFFLED
    blocks = weights.reshape(fc.rows.units // high, fc.rows.depth // wide, high, wide).swapaxes(1, 2)
    signed = np.ascontiguousarray(blocks).view(np.int8).reshape(fc.rows.units, fc.rows.depth)
    sums = exact.matmul(flipped.view(np.int8), signed.T)
    accumulator = with_bias(sums, bias_of(bias, fc), fc.accumulator, note)
    workspace = np.ascontiguousarray(flipped.reshape(len(rows), -1, wide).swapaxes(0, 1)).reshape(rows.shape)
    return fc.requantize(accumulator, note).reshape(fc.rows.output_shape(x.shape)), workspace


def prepare_shuffled(op: OpView, rows: Rows, activation: Activation, profile: Profile) -> ShuffledFullyConnected:
    """Check what only shuffled weights ask for.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    tensors = (input_tensor(op, 0), input_tensor(op, 1), output_tensor(op), output_tensor(op, 1))
    if tuple(tensor.dtype for tensor in tensors) != (DType.UINT8, DType.UINT8, DType.INT16, DType.UINT8):
        raise unsupported(op, "uint8 x uint8 to int16 with a uint8 workspace, weights shuffled in blocks of 4x16")
    high, wide = SHUFFLED
    fit = rows.units % high == 0 and rows.depth % wide == 0
    expect(fit, f"weights of whole blocks of {high}x{wide}, found {(rows.units, rows.depth)}")
    expect(optional_input(op, BIAS) is not None, "a bias beside shuffled weights, found none")
    applied = activation if SHUFFLED_CLAMPS[profile] else Activation.NONE
    plain = prepare_integer(op, rows, applied, profile, stored=True)
    expect(plain.requantize.zero_point == 0, f"an output with zero point 0, found {plain.requantize.zero_point}")
    return ShuffledFullyConnected(plain)
