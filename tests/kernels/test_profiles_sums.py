"""Profiles of ops that sum, and of LSTM: stored outputs of seven runtimes, LiteRT's other resolvers live, by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fbs
from fbs.model import Model
from kernels import profiles
from kernels.engine.hybrid_xnnpack import quantize_in_float32
from kernels.engine.registry import profile_running
from kernels.fully_connected_4bit import nibbles
from kernels.profiles import Profile
from qmath.errors import ModelError, UnsupportedError
from qmath.requantize import REDUCED_64
from qmath.requantize_vector import REDUCED_64_CUT_EARLY
from qmath.rounding import fused_multiply_add
from qmath.types import Array, DType
from quantref.runtimes import LiteRT
from quantref.vectors.cells.build import Operand, Result, one_op
from tests import goldens
from tests.kernels.forms import prepare_op
from tests.kernels.test_profiles import ALL, check_goldens, check_live, codes, outputs, quantized
from tests.quantref.test_explain_profiles import explained
from tests.sweep import all_cells

OPS = (
    *("BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
)
#: Cells whose arithmetic is another with XNNPACK, with LiteRT's optimized kernels, or with both.
CELLS = (
    *("BATCH_MATMUL int8 x int8 to int8", "BATCH_MATMUL float32 x int8 to float32 per-axis asymmetric"),
    *("CONV_2D int8 x int8 per-axis int32 bias", "CONV_2D float32 x int8 per-axis float32 bias"),
    *("CONV_2D uint8 x uint8 per-tensor int32 bias", "DEPTHWISE_CONV_2D int8 x int8 per-axis int32 bias"),
    *("TRANSPOSE_CONV int8 x int8 per-axis int32 bias", "TRANSPOSE_CONV float32 x int8 per-axis no bias"),
    *("FULLY_CONNECTED int8 x int8 per-axis int32 bias", "FULLY_CONNECTED hybrid int8 per-tensor asymmetric"),
    *("FULLY_CONNECTED int16 x int8 per-tensor int32 bias", "FULLY_CONNECTED uint8 shuffled to int16"),
)


#: Cells whose definition another profile brought, and that profile.
EXPLAINED = (
    ("BATCH_MATMUL float32 x int8 to float32 per-axis asymmetric", profiles.XNNPACK),
    ("BATCH_MATMUL int8 x int8 to int8", profiles.XNNPACK),
    ("CONV_2D float32 x int8 per-axis float32 bias", profiles.XNNPACK),
    ("DEPTHWISE_CONV_2D float32 x int8 per-axis float32 bias", profiles.LITERT_OPTIMIZED),
    ("FULLY_CONNECTED hybrid int4 per-axis asymmetric", profiles.LITERT_OPTIMIZED),
    ("FULLY_CONNECTED hybrid int8 per-axis asymmetric", profiles.XNNPACK),
    ("FULLY_CONNECTED hybrid int8 per-axis symmetric", profiles.LITERT_OPTIMIZED_ARM64),
    ("TRANSPOSE_CONV float32 x int8 per-axis no bias", profiles.XNNPACK),
)


@pytest.mark.shared
@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
def test_goldens(profile: Profile, shared) -> None:
    check_goldens(profile, OPS, shared)


@pytest.mark.shared
@pytest.mark.parametrize("profile", [profiles.TFLM, profiles.CMSIS_NN], ids=lambda profile: profile.name)
def test_whole_models(profile: Profile, shared) -> None:
    """Four invocations of nine models; two of them LiteRT does not run."""
    found = {golden.kind: goldens.compare(golden, profile) for golden in goldens.goldens(profile, "[mt]*_*", shared)}
    assert len(found) == len(goldens.MODELS)
    assert not [kind for kind, total in found.items() if total.mismatches or not total.elements]


@pytest.mark.parametrize("cell", CELLS)
def test_live(cell: str, other_litert: LiteRT) -> None:
    check_live(cell, other_litert, seed=3, enough=1500)


@pytest.mark.parametrize(("cell", "profile"), EXPLAINED, ids=[cell for cell, _ in EXPLAINED])
def test_explanations_are_calculated_again(cell: str, profile: Profile) -> None:
    assert explained(cell, all_cells()[cell], profile) == 1


def float32s(exponents: int) -> st.SearchStrategy[float]:
    return st.floats(-(2.0**exponents), 2.0**exponents, width=32)


@given(*[st.one_of(float32s(40), float32s(-60), float32s(-100))] * 3)
@settings(max_examples=300, deadline=None, derandomize=True)
@example(2.0**-75, 2.0**-75, 2.0**-126 - 2.0**-149)  # halfway between the largest subnormal and the smallest normal
@example(2.0**-75, -(2.0**-76), 2.0**-126)
def test_fused_multiply_add_rounds_once(a: float, b: float, c: float) -> None:
    found = float(fused_multiply_add(*(np.array([value], np.float32) for value in (a, b, c)))[0])
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    neighbours = [float(np.nextafter(np.float32(found), np.float32(end))) for end in (-np.inf, np.inf)]
    assert all(abs(Fraction(found) - exact) <= abs(Fraction(other) - exact) for other in neighbours)


@pytest.mark.parametrize("wide", [(), (1,), (300,), (200, 300)])
def test_fused_multiply_add_of_large_arrays_is_that_of_their_rows(wide: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 300)).astype(np.float32)
    b, c = (rng.integers(-8, 9, wide).astype(np.float32) * np.float32(2.0**-24) for _ in range(2))
    c = c + np.float32(1)
    found = fused_multiply_add(a, b, c)
    of_rows = zip(a, *(np.broadcast_to(term, a.shape) for term in (b, c)), strict=True)
    assert np.array_equal(found, np.stack([fused_multiply_add(*row) for row in of_rows]))
    assert found.dtype == np.float32


def test_fused_multiply_add_where_rounding_twice_is_wrong() -> None:
    # 1 + 2**-24 is a tie of float32, which float64 hides the last 2**-60 of.
    a, b, c = (np.array([value], np.float32) for value in (2.0**-30, 2.0**-30, 1 + 2.0**-23))
    tie = np.array([2.0**-24 * (1 + 2.0**-23)], np.float32)
    assert fused_multiply_add(a, b, c) == c
    assert fused_multiply_add(tie, np.ones(1, np.float32), np.ones(1, np.float32)) == np.float32(1 + 2.0**-23)


def test_quantize_in_float32() -> None:
    """From -1 to 3: 255 / 4 codes a unit, the zero point at -128 + 63.75 = -64.25, rounded to -64."""
    found = quantize_in_float32(np.array([[-1, 0, 1, 3], [0, 0, 0, 0]], np.float32))
    assert found.zero_point.tolist() == [-64, 127]
    assert found.codes[0].tolist() == [-128, -64, 0, 127]
    assert found.scale[0] == np.float32(1) / np.float32(63.75)


def test_xnnpack_quantizes_single_pixels() -> None:
    """A 1x1 filter with stride 1: each pixel has its own scale, so 100 beside 1 does not coarsen it."""
    x = Operand(np.array([1, 100], np.float32).reshape(1, 1, 2, 1))
    filter_ = Operand(np.ones((1, 1, 1, 1), np.int8), DType.INT8, constant=True, params=quantized(1.0))
    bias = Operand(np.zeros(1, np.float32), constant=True)
    options = {"stride_h": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, "padding": 1}

    def run(profile: Profile, stride: int, width: int) -> list[float]:
        result = Result(DType.FLOAT32, shape=(1, 1, width, 1))
        case = one_op("CONV_2D", "CONV_2D", [x, filter_, bias], [result], stride_w=stride, **options)
        inputs = [x.array, filter_.array, bias.array]
        return prepare_op(case.model, profile).compile(inputs)(inputs)[0].ravel().tolist()

    assert run(profiles.XNNPACK, 1, 2) == pytest.approx([1, 100], rel=1e-6)
    assert run(profiles.XNNPACK, 2, 1) == pytest.approx([100 / 255 * 3])


def test_delegate_reads_the_shape_in_the_file() -> None:
    """XNNPACK leaves a convolution whose output has no shape in the file, and fails on multipliers from 256 up."""

    def model(scale: float, shape: tuple[int, ...]):
        x = Operand(np.zeros((1, 2, 2, 1), np.int8), DType.INT8, params=quantized(scale))
        filter_ = Operand(np.ones((1, 1, 1, 1), np.int8), DType.INT8, constant=True, params=quantized(1.0))
        bias = Operand(np.zeros(1, np.int32), constant=True, params=quantized(scale))
        options = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, "padding": 0}
        return one_op("CONV_2D", "CONV_2D", [x, filter_, bias], [Result(DType.INT8, quantized(1.0), shape)], **options)

    taken, left = model(1.0, (1, 2, 2, 1)).model, model(1.0, ()).model
    assert profile_running(fbs.view(taken.subgraphs[0], 0), profiles.XNNPACK) is profiles.XNNPACK
    assert profile_running(fbs.view(left.subgraphs[0], 0), profiles.XNNPACK) is profiles.LITERT_OPTIMIZED
    with pytest.raises(ModelError, match="below 256, not 256"):
        prepare_op(model(256.0, (1, 2, 2, 1)).model, profiles.XNNPACK)


#: A 1x1 convolution of one element by each op, as XNNPACK would take it.
CONVOLUTIONS = {
    "CONV_2D": {"dilation_h_factor": 1, "dilation_w_factor": 1},
    "DEPTHWISE_CONV_2D": {"dilation_h_factor": 1, "dilation_w_factor": 1, "depth_multiplier": 1},
    "TRANSPOSE_CONV": {},
}


def convolution(
    op: str,
    filter_zero_point: int = 0,
    channels: int = 1,
    bias: dict[str, Any] | None = None,
    bias_rank: int = 1,
    **options: object,
) -> tuple[Model, list[Array]]:
    """Return a model whose sums are one half, and its inputs."""
    axis = 3 if op == "DEPTHWISE_CONV_2D" else 0
    shape = Operand(np.array([1, 1, 1, channels], np.int32), constant=True)
    x = Operand(np.ones((1, 1, 1, channels if axis else 1), np.int8), DType.INT8, params=quantized(1.0))
    scales = [0.5] * channels
    params = {"scale": scales, "zero_point": filter_zero_point, "quantized_dimension": axis}
    taps = np.ones((1, 1, 1, channels) if axis else (channels, 1, 1, 1), np.int8)
    filter_ = Operand(taps, DType.INT8, constant=True, params=params)
    zeros = np.zeros(channels, np.int32).reshape((1,) * (bias_rank - 1) + (channels,))
    biases = Operand(zeros, constant=True, params={"scale": scales} if bias is None else bias)
    operands = [shape, filter_, x, biases] if op == "TRANSPOSE_CONV" else [x, filter_, biases]
    options = {"stride_h": 1, "stride_w": 1, "padding": 0} | CONVOLUTIONS[op] | options
    case = one_op(op, op, operands, [Result(DType.INT8, quantized(1.0), (1, 1, 1, channels))], **options)
    return case.model, [operand.array for operand in operands]


@pytest.mark.parametrize("op", CONVOLUTIONS)
@pytest.mark.parametrize(("activation", "taken"), [(0, True), (1, True), (2, True), (3, True), (4, False), (5, False)])
def test_xnnpack_leaves_convolutions_with_tanh_or_sign_bit(op: str, activation: int, *, taken: bool) -> None:
    """LiteRT's kernels ignore these two and round a half up, XNNPACK's round it to even."""
    model, inputs = convolution(op, fused_activation_function=activation)
    expected = profiles.XNNPACK if taken else profiles.LITERT_OPTIMIZED
    assert profile_running(fbs.view(model.subgraphs[0], 0), profiles.XNNPACK) is expected
    assert np.ravel(prepare_op(model, profiles.XNNPACK).compile(inputs)(inputs)[0]).tolist() == [not taken]


def test_xnnpack_leaves_or_breaks_on_a_filter_with_a_zero_point() -> None:
    """Many scales are validated before a delegate takes the op, one scale when it builds it."""
    model, inputs = convolution("DEPTHWISE_CONV_2D", 3, channels=2)
    assert np.ravel(prepare_op(model, profiles.XNNPACK).compile(inputs)(inputs)[0]).tolist() == [1, 1]
    with pytest.raises(ModelError, match="a filter with zero point 0, not 3"):
        prepare_op(convolution("DEPTHWISE_CONV_2D", 3)[0], profiles.XNNPACK)
    for channels in (1, 2):
        with pytest.raises(ModelError, match="zero point"):
            prepare_op(convolution("CONV_2D", 3, channels)[0], profiles.XNNPACK)


@pytest.mark.parametrize(
    ("op", "channels", "taps", "single"),
    [
        ("CONV_2D", 1, 5, True),
        ("CONV_2D", 1, 6, False),
        ("CONV_2D", 2, 1, False),
        ("DEPTHWISE_CONV_2D", 1, 5, True),
        ("DEPTHWISE_CONV_2D", 1, 6, False),
        ("DEPTHWISE_CONV_2D", 2, 1, False),
    ],
)
def test_xnnpack_chooses_its_depthwise_kernel_by_channels_and_taps(
    op: str, channels: int, taps: int, *, single: bool
) -> None:
    """One channel in: with one out and up to 25 taps, the lowest sum saturates on x86 and wraps around on Arm."""

    def run(profile: Profile, dtype: DType, zero_point: int) -> int:
        x = Operand(np.zeros((1, taps, taps, 1), dtype.storage), dtype, params=quantized(1.0))
        shape = (1, taps, taps, channels) if op == "DEPTHWISE_CONV_2D" else (channels, taps, taps, 1)
        filter_ = Operand(np.ones(shape, dtype.storage), dtype, constant=True, params=quantized(0.5))
        bias = Operand(np.full(channels, -(2**31), np.int32), constant=True, params=quantized(0.5))
        result = Result(dtype, quantized(0.01, zero_point), (1, 1, 1, channels))
        options = {"stride_h": 1, "stride_w": 1, "padding": 1} | CONVOLUTIONS[op] | {"fused_activation_function": 0}
        options |= {"depth_multiplier": channels} if op == "DEPTHWISE_CONV_2D" else {}
        (found,) = np.unique(outputs(profile, op, [x, filter_, bias], result, **options)).tolist()
        return found

    assert run(profiles.XNNPACK, DType.INT8, -100) == (-128 if single else 127)
    assert run(profiles.XNNPACK_ARM64, DType.INT8, -100) == -128
    assert run(profiles.XNNPACK, DType.UINT8, 3) == 0
    assert run(profiles.XNNPACK_ARM64, DType.UINT8, 3) == (3 if single else 0)


def test_xnnpack_reads_the_depth_multiplier() -> None:
    """LiteRT's kernels find it from the shapes."""

    def run(multiplier: int) -> list[int]:
        model, inputs = convolution("DEPTHWISE_CONV_2D", channels=2, depth_multiplier=multiplier)
        return np.ravel(prepare_op(model, profiles.XNNPACK).compile(inputs)(inputs)[0]).tolist()

    assert [run(multiplier) for multiplier in (-1, 0, 1, 3)] == [[1, 1], [1, 1], [0, 0], [1, 1]]
    with pytest.raises(ModelError, match="makes 2 channels 2, not 2"):
        run(2)


@pytest.mark.parametrize("op", CONVOLUTIONS)
@pytest.mark.parametrize(
    ("params", "taken"),
    [
        ({"scale": [0.5]}, True),
        ({}, False),
        ({"scale": [1e-40]}, False),
        ({"scale": [0.5, 0.5], "zero_point": [0, 0]}, True),
        ({"scale": [0.5, 1e-40]}, False),
    ],
)
def test_xnnpack_leaves_biases_without_normal_scales(op: str, params: dict[str, Any], *, taken: bool) -> None:
    model, inputs = convolution(op, channels=max(1, len(params.get("scale", []))), bias=params)
    assert np.unique(prepare_op(model, profiles.XNNPACK).compile(inputs)(inputs)[0]).tolist() == [not taken]


def test_xnnpack_leaves_a_bias_of_two_dimensions() -> None:
    model, inputs = convolution("CONV_2D", bias_rank=2)
    assert np.ravel(prepare_op(model, profiles.XNNPACK).compile(inputs)(inputs)[0]).tolist() == [1]


def test_xnnpack_leaves_or_breaks_on_biases_of_fully_connected_with_zero_points() -> None:
    """One half, which XNNPACK rounds to even."""
    x = Operand(np.ones((1, 1), np.int8), DType.INT8, params=quantized(1.0))

    def run(units: int, zero_point: int) -> list[int]:
        weights = Operand(np.ones((units, 1), np.int8), DType.INT8, constant=True, params={"scale": [0.5] * units})
        params = {"scale": [0.5] * units, "zero_point": zero_point}
        bias = Operand(np.zeros(units, np.int32), constant=True, params=params)
        result = Result(DType.INT8, quantized(1.0), (1, units))
        return np.ravel(outputs(profiles.XNNPACK, "FULLY_CONNECTED", [x, weights, bias], result)).tolist()

    assert (run(1, 0), run(2, 0), run(1, 4)) == ([0], [0, 0], [1])
    with pytest.raises(ModelError, match="a bias with zero points 0"):
        run(2, 4)


def test_cmsis_nn_ignores_the_activation_of_transpose_conv() -> None:
    shape = Operand(np.array([1, 1, 1, 1], np.int32), constant=True)
    filter_ = Operand(np.ones((1, 1, 1, 1), np.int8), DType.INT8, constant=True, params=quantized(1.0))
    x = Operand(np.full((1, 1, 1, 1), -5, np.int8), DType.INT8, params=quantized(1.0))
    result = Result(DType.INT8, quantized(1.0), (1, 1, 1, 1))
    options = {"stride_h": 1, "stride_w": 1, "padding": 1, "fused_activation_function": 1}
    given_by = {
        profile: outputs(profile, "TRANSPOSE_CONV", [shape, filter_, x], result, **options)
        for profile in (profiles.TFLM, profiles.CMSIS_NN)
    }
    assert np.ravel(given_by[profiles.TFLM]).tolist() == [0]
    assert np.ravel(given_by[profiles.CMSIS_NN]).tolist() == [-5]


def test_cmsis_nn_cuts_64_bits_early() -> None:
    """A result of 2**30 + 0.5: one bit before the end it is 2**31 + 1, which 32 bits hold as -2**31 + 1."""
    factor = REDUCED_64.encode(np.array(0.5))
    for accumulator in (3, -3, 2**20 + 1):
        both = [regime.apply(np.array(accumulator), factor) for regime in (REDUCED_64, REDUCED_64_CUT_EARLY)]
        assert both[0] == both[1]
    beyond = np.array(2**31 + 1)
    assert REDUCED_64.apply(beyond, factor) == 2**30 + 1
    assert REDUCED_64_CUT_EARLY.apply(beyond, factor) == -(2**30) + 1


def test_nibbles_of_minus_8_spill() -> None:
    """-8 is read as 8, and with it the weight 16 before (second half of a block) or 18 after (some of the first)."""
    weights = np.zeros((1, 32), np.int8)
    assert (nibbles(weights) == 7).all()
    for place, read_as_8 in ((0, [0, 18]), (2, [2]), (5, [5, 23]), (20, [4, 20])):
        weights[:] = 0
        weights[0, place] = -8
        assert np.flatnonzero(nibbles(weights)[0] == 15).tolist() == read_as_8


def test_tflite_micro_takes_convolutions_without_bias() -> None:
    x = codes(3, dtype=DType.INT8, **quantized(1.0))
    x = Operand(x.array.reshape(1, 1, 1, 1), DType.INT8, params=quantized(1.0))
    filter_ = Operand(np.full((1, 1, 1, 1), 2, np.int8), DType.INT8, constant=True, params=quantized(1.0))
    options = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, "padding": 0}
    result = Result(DType.INT8, quantized(1.0), (1, 1, 1, 1))
    assert np.ravel(outputs(profiles.TFLM, "CONV_2D", [x, filter_], result, **options)).tolist() == [6]
    with pytest.raises(ModelError, match="expected 3 inputs"):
        outputs(profiles.LITERT_OPTIMIZED, "CONV_2D", [x, filter_], result, **options)


def test_xnnpack_reads_the_right_side_before_it_is_there() -> None:
    x = Operand(np.zeros((2, 3), np.float32))
    right = Operand(np.zeros((3, 2), np.int8), DType.INT8, params=quantized(1.0))
    case = one_op("BATCH_MATMUL", "BATCH_MATMUL", [x, right], [Result(DType.FLOAT32, shape=(2, 2))])
    with pytest.raises(UnsupportedError, match="before it is there"):
        prepare_op(case.model, profiles.XNNPACK)


def test_xnnpack_rounds_bounds_half_to_even() -> None:
    """RELU6 in steps of 4 with zero point 9: 1.5 + 9 is 10 half to even; 1.5 half away plus 9 is 11."""
    x = Operand(np.full((1, 1, 1, 1), 100, np.int8), DType.INT8, params=quantized(4.0))
    filter_ = Operand(np.ones((1, 1, 1, 1), np.int8), DType.INT8, constant=True, params=quantized(1.0))
    bias = Operand(np.zeros(1, np.int32), constant=True, params=quantized(4.0))
    window = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, "padding": 0}
    result = Result(DType.INT8, quantized(4.0, 9), (1, 1, 1, 1))
    operands = [x, filter_, bias]
    found = {
        profile: outputs(profile, "CONV_2D", operands, result, fused_activation_function=3, **window)
        for profile in (profiles.XNNPACK, profiles.LITERT_OPTIMIZED)
    }
    assert [np.ravel(codes).tolist() for codes in found.values()] == [[10], [11]]


@pytest.mark.parametrize("profile", ALL[:4], ids=lambda profile: profile.name)
def test_litert_dies_of_depthwise_convolutions_without_bias(profile: Profile) -> None:
    """LiteRT's optimized kernel reads the bias that is not there, on both machines; int16 has the reference's."""
    window = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, "padding": 0}
    filter_ = Operand(np.full((1, 1, 1, 1), 2, np.int8), DType.INT8, constant=True, params=quantized(1.0))

    def run(given: Profile, dtype: DType) -> list[int]:
        x = Operand(np.full((1, 1, 1, 1), 3, dtype.storage), dtype, params=quantized(1.0))
        result = Result(dtype, quantized(1.0), (1, 1, 1, 1))
        return np.ravel(outputs(given, "DEPTHWISE_CONV_2D", [x, filter_], result, **window)).tolist()

    assert run(profile, DType.INT16) == run(profiles.LITERT_REFERENCE, DType.INT8) == [6]
    with pytest.raises(UnsupportedError, match="dies of a DEPTHWISE_CONV_2D without bias"):
        run(profile, DType.INT8)


def fully_connected_of_one(profile: Profile, weight: int, bias: Operand, zero_point: int) -> list[int]:
    """Run an x of 0, scale 64 to scale 1: 64 times the bias."""
    x = Operand(np.zeros((1, 1), np.int8), DType.INT8, params=quantized(64.0))
    weights = Operand(np.full((1, 1), weight, np.int8), DType.INT8, constant=True, params=quantized(1.0))
    result = Result(DType.INT8, quantized(1.0, zero_point), (1, 1))
    options = {"fused_activation_function": 0, "weights_format": 0, "keep_num_dims": False}
    return np.ravel(outputs(profile, "FULLY_CONNECTED", [x, weights, bias], result, **options)).tolist()


@pytest.mark.parametrize(("bias", "zero_point", "expected"), [(1, 3, 127), (-1, 3, -128), (1, -3, 127), (-1, -3, 127)])
def test_xnnpack_saturates_above_and_wraps_below(bias: int, zero_point: int, expected: int) -> None:
    """Products of 2**36: below, the lowest int32 and a negative zero point wrap around to the highest code."""
    operand = Operand(np.array([bias << 30], np.int32), constant=True, params=quantized(64.0))
    assert fully_connected_of_one(profiles.XNNPACK, 1, operand, zero_point) == [expected]
    low_or_high = 127 if bias > 0 else -128
    assert fully_connected_of_one(profiles.XNNPACK_ARM64, 1, operand, zero_point) == [low_or_high]


def test_xnnpack_leaves_a_bias_of_int64() -> None:
    """LiteRT's kernel reads its words as int32: -1 is -1 there, and the unit has no other."""
    bias = Operand(np.array([-1], np.int64), constant=True, params=quantized(64.0))
    assert fully_connected_of_one(profiles.XNNPACK, 1, bias, 0) == [-64]
    x = Operand(np.zeros((1, 1), np.int8), DType.INT8, params=quantized(64.0))
    weights = Operand(np.ones((1, 1), np.int8), DType.INT8, constant=True, params=quantized(1.0))
    case = one_op("", "FULLY_CONNECTED", [x, weights, bias], [Result(DType.INT8, quantized(1.0), (1, 1))])
    assert profile_running(fbs.view(case.model.subgraphs[0], 0), profiles.XNNPACK) is profiles.LITERT_OPTIMIZED


def test_xnnpack_sums_int4_weights_in_28_bits() -> None:
    """It reads a weight from the upper half of a byte, as 16 times itself; 2**27 wraps, 2**27 - 1 does not."""
    x = Operand(np.zeros((1, 2), np.int8), DType.INT8, params=quantized(1.0))
    weights = Operand(np.ones((3, 2), np.int8), DType.INT4, constant=True, params=quantized(2.0**-23))
    sums = np.array([2**27 - 1, 2**27, -(2**27) - 2**24], np.int32)
    bias = Operand(sums, constant=True, params=quantized(2.0**-23))
    result = Result(DType.INT8, quantized(1.0), (1, 3))
    options = {"fused_activation_function": 0, "weights_format": 0, "keep_num_dims": False}
    found = [
        np.ravel(outputs(profile, "FULLY_CONNECTED", [x, weights, bias], result, **options)).tolist()
        for profile in (profiles.XNNPACK, profiles.XNNPACK_ARM64, profiles.LITERT_OPTIMIZED)
    ]
    assert found == [[16, -16, 14], [16, -16, 14], [16, 16, -18]]
