"""FULLY_CONNECTED: rows of the input times a matrix of weights, plus bias.

The weights are (units, depth). The input may have any rank: its elements, in order, are cut into rows of ``depth``
elements, and the output is (rows, units), or has the input's shape with ``units`` as its last dimension where
``keep_num_dims`` asks for it.

Here are the contract and the float32 form; ``fully_connected_integer.py`` has integer activations,
``fully_connected_hybrid.py`` float activations with integer weights, ``fully_connected_stored.py`` weights that files
hold sparsely or shuffled.

Source: ``tflite/kernels/fully_connected.cc``, ``tflite/kernels/internal/reference/fully_connected.h``.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kernels.engine import blas, delegate, micro
from kernels.engine.activation import Activation, clamp_float
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
    quant_of,
    scale_of,
    unsupported,
    zero_point_of,
)
from kernels.engine.convolution import too_large_for_xnnpack
from kernels.engine.elementwise import FINITE
from kernels.engine.float_convolution import BiasAndClamp
from kernels.engine.float_sums import matmul_in_order
from kernels.engine.registry import Kernel
from kernels.engine.rows import Rows
from kernels.engine.taps import Products, Reads
from kernels.engine.types import Inputs, OpView, Outputs, Prepared, Runner, TensorView, given
from kernels.fully_connected_hybrid import HYBRID_WEIGHTS, prepare_hybrid
from kernels.fully_connected_integer import BIAS, INTEGER_TYPES, prepare_integer
from kernels.fully_connected_stored import prepare_shuffled, prepare_sparse
from kernels.profiles import CMSIS_NN, TFLM, XNNPACK, Profile
from qmath.multiplier import float32_scale_ratio
from qmath.stages import Note, silent
from qmath.types import Array, DType, Float32Array

#: Activations of the forms that are not hybrid.
CLAMPS = (Activation.NONE, Activation.RELU, Activation.RELU_N1_TO_1, Activation.RELU6)


class WeightsFormat(enum.Enum):
    """The schema's formats of weights."""

    DEFAULT = 0
    SHUFFLED_4X16_INT8 = 1


@dataclass(frozen=True, slots=True)
class FloatFullyConnected(Prepared):
    """A prepared float32 FULLY_CONNECTED; ``finite`` says whether infinities are clamped even without an activation."""

    rows: Rows
    activation: Activation
    finite: bool
    in_order: bool = True

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Evaluate :func:`float_fully_connected`."""
        return (float_fully_connected(given(inputs, 0), given(inputs, 1).T, _float_bias(inputs), self, note),)

    def products(self, inputs: Inputs, index: tuple[int, ...]) -> Products:
        """Return one row of the weights times one row of the input."""
        _, elements, weights = self.rows.products(given(inputs, 0).shape, index)
        return Products((Reads(0, elements), Reads(1, weights)))

    def compile(self, constants: Inputs) -> Runner:
        """Lay constant weights out once, and multiply: in order, or by BLAS."""
        if constants[1] is None:
            return partial(self.evaluate, note=silent)
        matrix = np.ascontiguousarray(constants[1].T)
        multiply = matmul_in_order if self.in_order else blas.multiply
        finish = BiasAndClamp(constants, self.activation, finite=self.finite)

        def run(inputs: Inputs) -> Outputs:
            x = given(inputs, 0)
            rows = self.rows.of(x)
            out = np.empty((len(rows), len(matrix[0])), np.float32)
            multiply(rows, matrix, out)
            finish(out, inputs, out)
            return (out.reshape(self.rows.output_shape(x.shape)) if self.rows.keep_num_dims else out,)

        return run

    def in_any_order(self) -> Prepared:
        """Return the op that multiplies by BLAS."""
        return replace(self, in_order=False)


def float_fully_connected(
    x: Float32Array, matrix: Float32Array, bias: Float32Array | None, fc: FloatFullyConnected, note: Note = silent
) -> Array:
    """Multiply rows with a matrix (depth, units) in float32: add products in order, then the bias, then clamp."""
    sums = note("sum", matmul_in_order(fc.rows.of(x), matrix))
    if bias is not None:
        total = sums + bias.reshape(-1)
        sums = note("bias added", total, "float32(sum + bias)", sum=sums, bias=bias.reshape(-1))
    return clamp_float(sums, fc.activation, finite=fc.finite).reshape(fc.rows.output_shape(x.shape))


def _float_bias(inputs: Inputs) -> Float32Array | None:
    return inputs[BIAS] if len(inputs) > BIAS else None


@dataclass(frozen=True, slots=True)
class EmptyDepth(Prepared):
    """FULLY_CONNECTED with weights of shape (units, 0), of any type, or of integers without units.

    Quirk: FULLY_CONNECTED with an empty depth gives codes 0, whatever the output's zero point and the bias are.
    """

    rows: Rows
    dtype: DType

    def evaluate(self, inputs: Inputs, note: Note) -> Outputs:
        """Return zeros."""
        return (note("zeros", np.zeros(self.rows.output_shape(given(inputs, 0).shape), self.dtype.storage)),)


def prepare(op: OpView, profile: Profile) -> Prepared:
    """Check the contract of FULLY_CONNECTED and derive rows, multipliers and range.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The combination of types is not covered.

    """
    shuffled = choice(op, "weights_format", WeightsFormat) is WeightsFormat.SHUFFLED_4X16_INT8
    expect_count(op, {2, 3}, 2 if shuffled else 1)
    x, weights, y, bias = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op), optional_input(op, BIAS)
    activation = choice(op, "fused_activation_function", Activation)
    rows = _rows(op, x, weights)
    floats = (x.dtype, y.dtype) == (DType.FLOAT32, DType.FLOAT32)
    hybrid = floats and weights.dtype in HYBRID_WEIGHTS
    integers = (x.dtype, weights.dtype, y.dtype) in INTEGER_TYPES
    if not (integers or hybrid or (floats and weights.dtype is DType.FLOAT32)):
        raise unsupported(op, "; ".join(KERNELS[0].covers))
    expect(hybrid or activation in CLAMPS, f"an activation that clamps, found {activation.name}")
    if weights.dtype in {DType.INT4, DType.INT2}:
        expect(not quant_of(weights).zero_point.any(), f"zero points 0 of {weights.dtype.name} weights, found others")
    if rows.depth == 0:
        return EmptyDepth(rows, y.dtype)
    if bias is not None:
        expect(math.prod(bias.shape) == rows.units, f"one bias a unit ({rows.units}), found {bias.shape}")
    if shuffled:
        return prepare_shuffled(op, rows, activation, profile)
    if integers and weights.sparsity is not None:
        return prepare_sparse(op, rows, activation, profile)
    if integers:
        prepared = prepare_integer(op, rows, activation, profile)
        return prepared if rows.units else EmptyDepth(rows, y.dtype)
    if bias is not None:
        expect_dtype(bias, DType.FLOAT32)
    if hybrid:
        return prepare_hybrid(op, rows, activation, profile)
    return FloatFullyConnected(rows, activation, FINITE[profile])


def _rows(op: OpView, x: TensorView, weights: TensorView) -> Rows:
    expect_rank(weights, 2)
    units, depth = weights.shape
    keep = bool(option(op, "keep_num_dims"))
    if keep:
        last = x.shape[-1] if x.shape else None
        expect(last is not None and depth in {0, last}, f"input rows of {depth} elements, found shape {x.shape}")
    return Rows(depth, units, keep)


def _left_by_delegate(op: OpView) -> str | None:
    """Return why XNNPACK leaves a FULLY_CONNECTED to other kernels.

    Source: ``tflite/delegates/xnnpack/xnnpack_delegate.cc`` (VisitFullyConnectedNode).
    """
    x, weights, bias = input_tensor(op, 0), input_tensor(op, 1), optional_input(op, BIAS)
    hybrid = x.dtype is DType.FLOAT32 and weights.dtype in {DType.INT8, DType.INT4, DType.INT2}
    signed = x.dtype is DType.INT8 and weights.dtype in {DType.INT8, DType.INT4, DType.INT2}
    plain = x.dtype is weights.dtype and x.dtype in {DType.FLOAT32, DType.UINT8}
    if not (hybrid or signed or plain) or output_tensor(op).dtype is not x.dtype:
        return f"XNNPACK does not take {x.dtype.name} with {weights.dtype.name} weights"
    if weights.data is None or (bias is not None and bias.data is None):
        return "XNNPACK takes constant weights and biases alone"
    if bias is not None and bias.dtype is DType.INT64:
        return "XNNPACK takes no bias of INT64"
    plain_scale = weights.quant is not None and not weights.quant.per_axis
    if weights.dtype is DType.INT8 and plain_scale and not hybrid and zero_point_of(weights):
        return "XNNPACK takes weights with zero point 0 alone"
    return delegate.fused_activation(op) or delegate.bias(bias) or _stored_otherwise(weights)


def _stored_otherwise(weights: TensorView) -> str | None:
    """Return why XNNPACK does not take sparse or narrow weights as they are stored, or None."""
    if weights.sparsity is not None:
        return "XNNPACK leaves FULLY_CONNECTED with sparse weights"
    if len(weights.shape) != 2:
        return "XNNPACK takes weights of two dimensions alone"
    multiple = {DType.INT4: 2, DType.INT2: 4}.get(weights.dtype, 1)
    if weights.shape[-1] % multiple:
        return f"XNNPACK takes {weights.dtype.name} weights of a depth that is a multiple of {multiple} alone"
    if weights.dtype is DType.INT2 and weights.quant is not None and weights.quant.scale.size != weights.shape[0]:
        return "XNNPACK takes INT2 weights with a scale a unit alone"
    return None


def _demanded_by_delegate(op: OpView) -> str | None:
    x, weights, y = input_tensor(op, 0), input_tensor(op, 1), output_tensor(op)
    depth = weights.shape[-1]
    if not option(op, "keep_num_dims") and depth and math.prod(x.shape) % depth:
        return f"XNNPACK expects an input that divides into rows of {depth} elements, not shape {x.shape}"
    if weights.dtype in {DType.INT8, DType.INT4, DType.INT2} and quant_of(weights).zero_point.any():
        return "XNNPACK expects weights with zero points 0"
    if x.dtype is DType.FLOAT32 or weights.quant is None:
        return None
    bias = optional_input(op, BIAS)
    if bias is not None and bias.quant is not None and bias.quant.zero_point.any():
        return "XNNPACK expects a bias with zero points 0"
    return too_large_for_xnnpack(float32_scale_ratio(scale_of(x), weights.quant.scale, scale_of(y)))


KERNELS = (
    Kernel(
        "FULLY_CONNECTED",
        prepare,
        covers=(
            "int8 x int8, int4 or int2, per-tensor and per-axis",
            "int16 x int8, int4, int2 or int16, per-tensor and per-axis, bias int32 or int64",
            "uint8 x uint8 to uint8 or int16, per-tensor",
            "uint8 x uint8 to int16, weights shuffled in blocks of 4x16",
            "int8 x int8, weights sparse in blocks of 1x16, per-tensor and per-axis",
            "float32 x int8, uint8, int4 or int2 (hybrid), per-tensor and per-axis; int8 also sparse in blocks of 1x16",
            "float32, weights dense or sparse",
        ),
        reads_sparse=True,
        refusal={
            TFLM: micro.sums,
            CMSIS_NN: micro.fully_connected_of_cmsis_nn,
            XNNPACK: _left_by_delegate,
        },
        demands={XNNPACK: _demanded_by_delegate},
    ),
)
