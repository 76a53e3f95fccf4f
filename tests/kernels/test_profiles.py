"""Profiles other than the reference: stored outputs of seven runtimes, and LiteRT's other resolvers live."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import fbs
from kernels import profiles
from kernels.engine.registry import kernel_of, profile_running, registry
from kernels.engine.vector import Inner, Run, innermost
from kernels.profiles import Profile
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.difference import Difference
from quantref.runtimes import LiteRT
from quantref.vectors.cells.build import Operand, Result, one_op
from quantref.vectors.cells.case import Case
from tests import goldens, sweep
from tests.kernels.forms import assert_forms_agree, prepare_op
from tests.sweep import all_cells

ALL = (
    profiles.LITERT_OPTIMIZED,
    profiles.LITERT_OPTIMIZED_ARM64,
    profiles.XNNPACK,
    profiles.XNNPACK_ARM64,
    profiles.TFLM,
    profiles.CMSIS_NN,
)
#: Ops that some runtime computes otherwise than LiteRT's reference kernels, but for convolutions and matrix products.
OPS = (
    *("ADD", "ADD_N", "CUMSUM", "DEQUANTIZE", "ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "LOG_SOFTMAX"),
    *("MAX_POOL_2D", "MEAN", "MUL", "PRELU", "QUANTIZE", "RELU6", "RESIZE_BILINEAR", "SOFTMAX", "SQUARED_DIFFERENCE"),
    *("SUB", "SUM", "TANH"),
)
#: Cells of the sweep that are compared with LiteRT's other resolvers.
CELLS = (
    *("ADD int8", "ADD uint8", "ADD int16", "ADD int8 far scales", "ADD uint8 far scales", "ADD int16 far scales"),
    *("SUB int8", "SUB uint8", "MUL int8", "MUL uint8", "MUL int16", "ADD plain float32", "MUL plain float32"),
    *("QUANTIZE float32 to int8", "QUANTIZE float32 to int16", "QUANTIZE int8 to int8", "QUANTIZE uint8 to uint8"),
    *("QUANTIZE int8 to uint8", "DEQUANTIZE int8", "DEQUANTIZE uint8", "DEQUANTIZE int8 per-axis"),
    *("LOGISTIC int8", "LOGISTIC int16", "TANH uint8", "TANH int16", "ELU int8", "LEAKY_RELU int8", "LEAKY_RELU uint8"),
    *(
        "SOFTMAX int8 to int8",
        "SOFTMAX uint8 to uint8",
        "SOFTMAX int8 to int16",
        "LOG_SOFTMAX int8",
        "LOG_SOFTMAX uint8",
    ),
    *("MEAN int8", "MEAN uint8", "MEAN int16", "SUM uint8", "REDUCE_PROD int8", "REDUCE_MAX bool", "REDUCE_MAX int8"),
    *("RESIZE_BILINEAR int8", "RESIZE_BILINEAR uint8", "MAX_POOL_2D int8", "PAD int8", "CONCATENATION uint8"),
)


def check_goldens(profile: Profile, ops: tuple[str, ...], shared: Path) -> None:
    """Hold a profile against the stored outputs of its runtime."""
    total = Difference()
    for op in ops:
        for golden in goldens.goldens(profile, f"{op}__*", shared):
            found = goldens.compare(golden, profile)
            assert found.mismatches == 0, f"{golden.path.stem}: {found.mismatches} of {found.elements}: {found.first}"
            total += found
    assert total.elements > 100_000


def check_live(cell: str, runtime: LiteRT, seed: int, enough: int) -> None:
    """Compiled form and definition give what the resolver gives, and refuse what it refuses."""
    rng, result = np.random.default_rng(seed), sweep.Result(cell)
    for case in islice(all_cells()[cell](rng), 30):
        sweep._compare(case, runtime, runtime.runtime.profile, result)
        if result.elements > enough:
            break
    assert (result.mismatches, result.refused_by_one) == (0, 0), result.notes
    assert result.elements > 0


@pytest.mark.shared
@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
def test_goldens(profile: Profile, shared) -> None:
    check_goldens(profile, OPS, shared)


@pytest.mark.parametrize("cell", CELLS)
def test_live(cell: str, other_litert: LiteRT) -> None:
    check_live(cell, other_litert, seed=1, enough=1000)


@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
@pytest.mark.parametrize("cell", ["ADD int8 far scales", "MUL uint8", "QUANTIZE float32 to int8"])
def test_compiled_form_equals_definition(cell: str, profile: Profile) -> None:
    rng = np.random.default_rng(7)
    if "uint8" in cell and profile in {profiles.TFLM, profiles.CMSIS_NN}:
        pytest.skip("TFLite Micro has no uint8")
    assert sum(assert_forms_agree(case, profile) for case in islice(all_cells()[cell](rng), 8)) > 0


def quantized(scale: float, zero_point: int = 0) -> dict[str, float]:
    return {"scale": scale, "zero_point": zero_point}


def codes(*numbers: int, dtype: DType = DType.INT8, **params: float) -> Operand:
    return Operand(np.array(numbers, dtype.storage), dtype, params=params)


def outputs(profile: Profile, op: str, operands: list[Operand], result: Result, **options: object) -> list[int]:
    case = one_op(op, op, operands, [result], **options)
    prepared = prepare_op(case.model, profile)
    arrays = [operand.array for operand in operands]
    return prepared.compile([None] * len(arrays))(arrays)[0].tolist()


def test_one_tie_six_profiles() -> None:
    """QUANTIZE of code -2 from scale 1 to 4: minus one half. A block of 16 elements, then one that is left over."""
    sixteen_and_one = codes(*[-2] * 17, **quantized(1.0))
    given = {
        profile.name: outputs(profile, "QUANTIZE", [sixteen_and_one], Result(DType.INT8, quantized(4.0), (17,)))
        for profile in ALL
    }
    away = [-1] * 17
    assert given["tflm"] == given["cmsis-nn"] == away
    assert given["litert-optimized"] == given["litert-optimized-arm64"] == [0] * 16 + [-1]
    assert given["xnnpack"] == given["xnnpack-arm64"] == [0] * 17


def test_relu6_of_tflite_micro_ignores_the_output_scale() -> None:
    x, y = codes(-5, 3, 100, **quantized(0.5)), Result(DType.INT8, quantized(0.25, 7), (3,))
    assert outputs(profiles.TFLM, "RELU6", [x], y) == [0, 3, 12]
    assert outputs(profiles.LITERT_OPTIMIZED, "RELU6", [x], y) == [7, 13, 31]


def test_cumsum_of_tflite_micro_starts_from_code_0() -> None:
    x = codes(10, 10, 10, **quantized(1.0, 10))
    axis = Operand(np.array(0, np.int32), constant=False)
    given = outputs(
        profiles.TFLM, "CUMSUM", [x, axis], Result(DType.INT8, quantized(1.0), (3,)), exclusive=False, reverse=False
    )
    assert given == [-10, -10, -10]


@pytest.mark.parametrize(
    ("first", "second", "loop"),
    [
        ((2, 3), (2, 3), Run(Inner.ELEMENTS, 6)),
        ((3, 7, 5), (5,), Run(Inner.ELEMENTS, 5)),
        ((1,), (4, 33), Run(Inner.SCALAR, 132)),
        ((3, 1, 20), (3, 11, 1), Run(Inner.SCALAR, 20)),
        ((2, 1, 2, 1, 2, 1), (1, 2, 1, 2, 1, 2), Run(Inner.GENERIC, 1)),
    ],
)
def test_innermost_loop(first: tuple[int, ...], second: tuple[int, ...], loop: Run) -> None:
    assert innermost(first, second) == loop == innermost(second, first)


def test_delegate_leaves_what_it_has_no_kernel_for() -> None:
    def running(op: str, dtype: DType, scale: float, other: float) -> Profile:
        x = Operand(np.zeros((2, 3), dtype.storage), dtype, params=quantized(scale))
        case = one_op(op, op, [x, x], [Result(dtype, quantized(other), (2, 3))], fused_activation_function=0)
        return profile_running(fbs.view(case.model.subgraphs[0], 0), profiles.XNNPACK)

    assert running("ADD", DType.INT8, 1.0, 1.0) is profiles.XNNPACK
    assert running("ADD", DType.INT8, 1.0, 2.0**-8) is profiles.LITERT_OPTIMIZED
    assert running("ADD", DType.INT16, 1.0, 1.0) is profiles.LITERT_OPTIMIZED
    assert running("DIV", DType.INT8, 1.0, 1.0) is profiles.LITERT_OPTIMIZED


def test_every_reason_is_a_sentence() -> None:
    """What a delegate leaves is said in words, for any op of any types."""
    for name, generator in sorted(all_cells().items())[::25]:
        case = next(generator(np.random.default_rng(0)))
        op = fbs.view(case.model.subgraphs[0], 0)
        reason = kernel_of(op).refused_by(op, profiles.XNNPACK)
        assert reason is None or reason.split()[0] in {"XNNPACK", "xnnpack"}, (name, reason)
    assert registry()


def test_runtimes_refuse() -> None:
    x = Operand(np.zeros(4, np.uint8), DType.UINT8, params=quantized(1.0))
    case = one_op("RELU", "RELU", [x], [Result(DType.UINT8, quantized(1.0), (4,))])
    with pytest.raises(UnsupportedError, match="TFLite Micro has no RELU of uint8"):
        prepare_op(case.model, profiles.TFLM)
    pool = Operand(np.zeros((1, 2, 2, 1), np.int8), DType.INT8, params=quantized(1.0))
    options = {"padding": 1, "stride_w": 1, "stride_h": 1, "filter_width": 2, "filter_height": 2}
    case = one_op("MAX_POOL_2D", "MAX_POOL_2D", [pool], [Result(DType.INT8, quantized(2.0))], **options)
    with pytest.raises(ModelError, match="fails to allocate"):
        prepare_op(case.model, profiles.XNNPACK)
    assert prepare_op(case.model, profiles.LITERT_OPTIMIZED)


def float_output(profile: Profile, op: str, values: list[float]) -> list[float]:
    """Run an op on one float32 tensor."""
    x = Operand(np.array(values, np.float32))
    return np.ravel(outputs(profile, op, [x], Result(DType.FLOAT32, shape=x.array.shape))).tolist()


def test_xnnpack_refines_an_estimate_of_inverse_roots() -> None:
    """The estimate of 1 / sqrt(0) is infinite, and 0 times it NaN; on Arm roots are divided."""
    found = float_output(profiles.XNNPACK, "RSQRT", [0.0, -0.0, 1e-40, 4.0])
    assert np.isnan(found[:3]).all()
    assert found[3] == 0.5
    assert float_output(profiles.XNNPACK_ARM64, "RSQRT", [0.0, -0.0, 1e-40, 4.0]) == [np.inf, -np.inf, np.inf, 0.5]
    assert float_output(profiles.XNNPACK, "SQRT", [1e-40, 4.0]) == [0.0, 2.0]


def test_xnnpack_at_the_ends_of_logarithm_and_exponential() -> None:
    assert float_output(profiles.XNNPACK, "LOG", [1e-40, 1.0, 2.5e38]) == [-np.inf, 0.0, np.inf]
    assert float_output(profiles.XNNPACK_ARM64, "LOG", [1e-40, 1.0]) == [-np.inf, 0.0]
    assert float_output(profiles.XNNPACK, "EXP", [np.nan, 0.0]) == [0.0, 1.0]


def test_hard_swish_that_overflows() -> None:
    """6 * 1e38 is no float32; vector code, which takes 4 at once, divides before it multiplies."""
    x = [1e38] * 5
    assert float_output(profiles.LITERT_REFERENCE, "HARD_SWISH", x) == [np.inf] * 5
    assert float_output(profiles.LITERT_OPTIMIZED, "HARD_SWISH", x) == pytest.approx([1e38] * 4 + [np.inf])
    assert float_output(profiles.XNNPACK, "HARD_SWISH", x) == pytest.approx(x)


#: The scales and zero points of a tensor and of its square, and the fused activation; ties where zero points are odd.
SQUARES = (
    *(((0.5, -107), (0.5, -107), 0), ((0.1875, -86), (2.0, -45), 0), ((0.25, -128), (0.5, 127), 0)),
    *(((0.1875, 118), (2.0, 121), 1), ((0.0625, -32), (2.0, 65), 2), ((0.1875, -26), (0.5, -127), 3)),
)


def squared(x: tuple[float, int], y: tuple[float, int], activation: int) -> Case:
    """MUL of a tensor of every code with itself."""
    every = np.arange(-128, 128).astype(np.int8)
    operands = [Operand(every, DType.INT8, params=quantized(*x)) for _ in range(2)]
    result = Result(DType.INT8, quantized(*y), (256,))
    case = one_op("MUL of a tensor with itself", "MUL", operands, [result], fused_activation_function=activation)
    graph = case.model.subgraphs[0]
    first = graph.operators[0].inputs[0]
    (itself,) = (replace(op, inputs=(first, first)) for op in graph.operators)
    model = replace(case.model, subgraphs=(replace(graph, inputs=(first,), operators=(itself,)),))
    return replace(case, model=model)


def test_a_tensor_times_itself(other_litert: LiteRT) -> None:
    """XNNPACK makes a square of it, which it tabulates; LiteRT's own kernel does not."""
    result = sweep.Result("MUL of a tensor with itself")
    for parameters in SQUARES:
        sweep._compare(squared(*parameters), other_litert, other_litert.runtime.profile, result)
    assert (result.elements, result.mismatches, result.refused_by_one) == (256 * len(SQUARES), 0, 0), result.notes


def test_squares_round_other_ties_than_products() -> None:
    """Code -100 is 3.5 above an odd zero point; its square is 24.5 steps, and -107 + 24.5 rounds to the even -82."""
    model = squared((0.5, -107), (0.5, -107), 0).model
    x = np.array([-100], np.int8)
    found = {p.name: prepare_op(model, p).compile([None, None])([x, x])[0].tolist() for p in ALL[:4]}
    assert found == {
        "litert-optimized": [-82],
        "litert-optimized-arm64": [-82],
        "xnnpack": [-82],
        "xnnpack-arm64": [-82],
    }
    two = one_op(
        *("", "MUL", [Operand(x, DType.INT8, params=quantized(0.5, -107)) for _ in range(2)]),
        [Result(DType.INT8, quantized(0.5, -107), (1,))],
    )
    assert prepare_op(two.model, profiles.XNNPACK).compile([None, None])([x, x])[0].tolist() == [-83]


@pytest.mark.parametrize("activation", [1, 2, 3])
def test_maxima_of_one_element(activation: int, other_litert: LiteRT) -> None:
    """XNNPACK takes it for its activation alone, which rescales; without one it refuses other scales."""
    every = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    window = {"padding": 1, "stride_w": 1, "stride_h": 1, "filter_width": 1, "filter_height": 1}
    result = sweep.Result("MAX_POOL_2D of 1x1")
    for x, y in (((0.5, 10), (0.5, 10)), ((0.5, 10), (0.5, 20)), ((0.002, 102), (0.226, 48)), ((0.75, -3), (0.5, -7))):
        for fused in (0, activation):
            operand, output = (
                Operand(every, DType.INT8, params=quantized(*x)),
                Result(DType.INT8, quantized(*y), every.shape),
            )
            case = one_op("", "MAX_POOL_2D", [operand], [output], fused_activation_function=fused, **window)
            sweep._compare(case, other_litert, other_litert.runtime.profile, result)
    refused = 3 if other_litert.runtime.profile == "xnnpack" else 0
    assert (result.mismatches, result.refused_by_one, result.refused_by_both) == (0, 0, refused), result.notes
    assert result.elements == 256 * (8 - refused)


@pytest.mark.parametrize(("units", "scales", "taken"), [(1, 1, True), (2, 1, False), (2, 2, True)])
def test_xnnpack_takes_int2_weights_with_a_scale_a_unit(units: int, scales: int, taken: bool) -> None:
    """One scale is one a unit where there is one unit."""
    x = Operand(np.ones((1, 4), np.int8), DType.INT8, params=quantized(0.5))
    params = quantized(0.25) if scales == 1 else {"scale": [0.25] * scales, "zero_point": [0] * scales}
    weights = Operand(np.ones((units, 4), np.int8), DType.INT2, constant=True, params=params)
    options = {"fused_activation_function": 0, "weights_format": 0, "keep_num_dims": False}
    case = one_op("", "FULLY_CONNECTED", [x, weights], [Result(DType.INT8, quantized(0.5), (1, units))], **options)
    running = profile_running(fbs.view(case.model.subgraphs[0], 0), profiles.XNNPACK)
    assert running is (profiles.XNNPACK if taken else profiles.LITERT_OPTIMIZED)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8, DType.INT16])
def test_optimized_quantize_divides_in_float64_after_whole_blocks(dtype: DType, other_litert: LiteRT) -> None:
    """0.35 is 3.5 steps of float32(0.1) in float32, less than that in float64; its inverse makes it a tie again."""
    x = Operand(np.full(9, np.float32(3.5) * np.float32(0.1), np.float32))
    result = Result(dtype, quantized(0.1), (9,))
    assert outputs(profiles.LITERT_REFERENCE, "QUANTIZE", [x], result) == [4] * 9
    for profile in (profiles.LITERT_OPTIMIZED, profiles.LITERT_OPTIMIZED_ARM64):
        assert outputs(profile, "QUANTIZE", [x], result) == [4] * 8 + [3]
    compared = sweep.Result("QUANTIZE")
    sweep._compare(one_op("", "QUANTIZE", [x], [result]), other_litert, other_litert.runtime.profile, compared)
    assert (compared.mismatches, compared.elements) == (0, 9)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8, DType.FLOAT32])
def test_xnnpack_cuts_valid_windows_to_the_image(dtype: DType) -> None:
    """A window of 4 rows over 2: LiteRT gives no rows, XNNPACK the maxima of both; its averages are refused."""
    image = np.arange(6).reshape(1, 2, 3, 1).astype(dtype.storage)
    params = {} if dtype is DType.FLOAT32 else quantized(1.0)
    x, result = Operand(image, dtype, params=params), Result(dtype, params, (1, 1, 2, 1))
    window = {"padding": 1, "stride_w": 1, "stride_h": 1, "filter_width": 2, "filter_height": 4}
    assert np.shape(outputs(profiles.LITERT_OPTIMIZED, "MAX_POOL_2D", [x], result, **window)) == (1, 0)
    assert np.ravel(outputs(profiles.XNNPACK, "MAX_POOL_2D", [x], result, **window)).tolist() == [4, 5]
    if dtype is DType.FLOAT32:
        with pytest.raises(UnsupportedError, match=r"\(4, 2\) and \(2, 3\)"):
            outputs(profiles.XNNPACK, "AVERAGE_POOL_2D", [x], result, **window)


def test_optimized_softmax_with_powers_that_overflow() -> None:
    """e**100 is infinite in float32: its share is NaN, the lowest int32, which the zero point -128 wraps around."""
    x = Operand(np.array([0, -100], np.int8), DType.INT8, params=quantized(1.0))
    for dtype, zero_point, highest in ((DType.INT8, -128, 127), (DType.UINT8, 0, 0)):
        operand = x if dtype is DType.INT8 else Operand(np.array([100, 0], np.uint8), dtype, params=quantized(1.0))
        result = Result(dtype, quantized(1 / 256, zero_point), (2,))
        found = outputs(profiles.LITERT_OPTIMIZED, "SOFTMAX", [operand], result, beta=-1.0)
        assert found == [zero_point, highest]


@pytest.mark.parametrize("op", ["LOGISTIC", "TANH"])
def test_optimized_int16_curves_refuse_a_multiplier_beyond_int32(op: str) -> None:
    x = Operand(np.ones(3, np.int16), params=quantized(2.0**31 / 12288 + 1))
    result = Result(DType.INT16, quantized(2.0**-15), (3,))
    outputs(profiles.LITERT_REFERENCE, op, [x], result)
    with pytest.raises(UnsupportedError, match="fits no int32"):
        outputs(profiles.LITERT_OPTIMIZED, op, [x], result)


def test_sums_of_no_elements() -> None:
    """XNNPACK gives the zero point; LiteRT's optimized kernels what lies in memory, if there is an output at all."""
    axes = Operand(np.array([1], np.int32), constant=True)
    x = Operand(np.zeros((3, 0), np.int8), DType.INT8, params=quantized(1.0))
    result = Result(DType.INT8, quantized(2.0, 7), (3,))
    assert outputs(profiles.XNNPACK, "SUM", [x, axes], result) == [7, 7, 7]
    with pytest.raises(UnsupportedError, match="what lies in memory"):
        outputs(profiles.LITERT_OPTIMIZED, "SUM", [x, axes], result)
    neither = Operand(np.zeros((0, 3), np.int8), DType.INT8, params=quantized(1.0))
    assert outputs(profiles.LITERT_OPTIMIZED, "SUM", [neither, axes], result) == []


@pytest.mark.parametrize("profile", [profiles.LITERT_REFERENCE, profiles.XNNPACK], ids=lambda profile: profile.name)
def test_fully_connected_without_units(profile: Profile) -> None:
    x = Operand(np.ones((2, 3), np.int8), DType.INT8, params=quantized(1.0))
    weights = Operand(np.ones((0, 3), np.int8), DType.INT8, constant=True, params=quantized(1.0))
    result = Result(DType.INT8, quantized(1.0), (2, 0))
    assert np.shape(outputs(profile, "FULLY_CONNECTED", [x, weights], result)) == (2, 0)
