"""CONV_2D against LiteRT, against loops over Python integers, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
from qmath.errors import ModelError, SpecError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.conv import CELLS
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples
from tests.oracles import convolution, rational


def conv_model(
    x_shape=(1, 1, 1, 1),
    filter_=((((2,),),),),
    bias=(0,),
    *,
    types=(DType.INT8, DType.INT8, DType.INT32),
    x=(0.5, 0),
    weights=(0.5, 0),
    y=(1.0, 0),
    bias_scale=(0.25, 0),
    axis=0,
    inputs=3,
    has_bias=True,
    **options,
):
    """Build a CONV_2D; quantization as (scale, zero point), None for none."""

    def params(quantization):
        return {} if quantization is None else {"scale": quantization[0], "zero_point": quantization[1]}

    b = fbs.Builder()
    activation, filter_type, bias_type = types
    slots = [
        b.input("x", activation, x_shape, **params(x)),
        b.constant("filter", np.array(filter_), filter_type, **params(weights), quantized_dimension=axis),
        b.constant("bias", np.array(bias), bias_type, **params(bias_scale)) if has_bias else None,
    ]
    out = b.tensor("y", activation, (), **params(y))
    options = {"stride_h": 1, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1, **options}
    b.op("CONV_2D", slots[:inputs], [out], options=options)
    return b.finish([out])


@pytest.mark.parametrize("bias", [2**63 - 1, 2**63 - 65_536, -(2**63) + 65_536, -(2**63)])
@pytest.mark.parametrize("weight", [127, -128])
def test_sums_beyond_64_bits_are_left_to_the_definition(bias, weight):
    """What a bias at the end of int64 leaves no room for wraps around; bounds that wrap with it would not notice."""
    model = conv_model(filter_=((((weight,),),),), bias=(bias,), types=(DType.INT16, DType.INT8, DType.INT64))
    for code in (-32768, -1, 0, 1, 32767):
        definition, compiled = run_forms(model, {"x": np.full((1, 1, 1, 1), code, np.int16)})
        assert np.array_equal(definition, compiled)


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=2000) >= 2000


@pytest.mark.parametrize("cell", CELLS)
@examples(8)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
def test_goldens(shared):
    assert assert_goldens_match(shared, "CONV_2D") > 50_000


@examples(25)
@given(data=st.data())
def test_definition_equals_loops_over_integers(data):
    stride, dilation, groups = (data.draw(st.integers(1, 3)) for _ in range(3))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    same = data.draw(st.booleans())
    size = [data.draw(st.integers(1 if same else (k - 1) * dilation + 1, 7)) for k in kernel]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    depth = data.draw(st.integers(1, 2))
    x = rng.integers(-128, 128, (1, *size, depth * groups)).astype(np.int8)
    filter_ = rng.integers(-127, 128, (2 * groups, *kernel, depth)).astype(np.int8)
    bias = rng.integers(-300, 300, 2 * groups)
    real = data.draw(st.sampled_from([2.0**-7, 2.0**-6, 3 * 2.0**-9, 1 / 300]))
    model = conv_model(
        x.shape,
        filter_,
        bias,
        x=(real, -5),
        weights=(1.0, 0),
        y=(1.0, 3),
        padding=0 if same else 1,
        stride_h=stride,
        stride_w=stride,
        dilation_h_factor=dilation,
        dilation_w_factor=dilation,
    )
    definition, compiled = run_forms(model, {"x": x})
    steps = (x[0].astype(int) + 5).tolist()
    sums = convolution.conv_sums(steps, filter_.tolist(), stride, dilation, groups, same=same)
    multiplier, shift = rational.encode(float(np.float32(real)))
    for place, total in sums.items():
        scaled = rational.double_rounding(total + int(bias[place[2]]), multiplier, shift)
        expected = min(max(scaled + 3, -128), 127)
        assert definition[0][0][place] == compiled[0][0][place] == expected
    assert definition[0].size == len(sums)


def test_one_product_step_by_step():
    # (7 - 1) * 2 + 4 = 16 quarters = 4.0; in halves, from -3: code 5.
    model = conv_model(bias=(4,), x=(0.5, 1), weights=(0.5, 0), y=(0.5, -3))
    (y,), stages = trace(model, {"x": np.full((1, 1, 1, 1), 7, np.int8)})
    assert stages["accumulator"] == [[[[16]]]]
    assert stages["shifted right"] == [[[[8]]]]
    assert y.tolist() == [[[[5]]]]


@pytest.mark.parametrize(
    ("scale", "codes", "expected"),
    [
        # A multiplier below 1/2 shifts right after the multiplication; ties of that shift go away from zero.
        (0.25, [-6, -2, 2, 6], [-2, -1, 1, 2]),
        # The multiplication alone rounds ties up.
        (0.5, [-3, -1, 1, 3], [-1, 0, 1, 2]),
    ],
)
def test_ties_of_minus_and_plus_one_and_a_half(scale, codes, expected):
    model = conv_model((1, 1, 4, 1), [[[[1]]]], x=(scale, 0), weights=(1.0, 0), y=(1.0, 0))
    (definition,), (compiled,) = run_forms(model, {"x": np.array(codes, np.int8).reshape(1, 1, 4, 1)})
    assert definition.ravel().tolist() == compiled.ravel().tolist() == expected


def test_ties_of_64_bit_accumulators_round_up():
    model = conv_model(
        (1, 1, 4, 1), [[[[1]]]], types=(DType.INT16, DType.INT8, DType.INT64), x=(0.5, 0), weights=(1.0, 0), y=(1.0, 0)
    )
    (definition,), (compiled,) = run_forms(model, {"x": np.array([-3, -1, 1, 3], np.int16).reshape(1, 1, 4, 1)})
    assert definition.ravel().tolist() == compiled.ravel().tolist() == [-1, 0, 1, 2]


def test_padding_stands_for_zero():
    # Every window sees the one pixel, whatever else it covers; the input's zero point is far from 0.
    model = conv_model((1, 1, 1, 1), np.ones((1, 3, 3, 1), int), x=(1.0, 100), weights=(1.0, 0), y=(1.0, 0))
    (y,), _ = run_forms(model, {"x": np.full((1, 1, 1, 1), 103, np.int8)})
    assert y.tolist() == [[[[3]]]]


def test_32_bit_accumulators_of_16x8_wrap():
    filter_ = np.full((1, 1, 1, 600), 127)
    model = conv_model(
        (1, 1, 1, 600), filter_, types=(DType.INT16, DType.INT8, DType.INT32), y=(2.0**14, 0), quantized_bias_type=2
    )
    (_,), stages = trace(model, {"x": np.full((1, 1, 1, 600), 32767, np.int16)})
    assert stages["accumulator"] == [[[[600 * 127 * 32767 - 2**32]]]]


def test_an_input_smaller_than_the_window_gives_nothing():
    model = conv_model((1, 2, 3, 1), np.ones((1, 3, 3, 1), int), padding=1)
    for outputs in run_forms(model, {"x": np.zeros((1, 2, 3, 1), np.int8)}):
        assert outputs[0].shape == (1, 0, 1, 1)


def test_int4_filter_gives_what_int8_gives():
    filter_ = np.arange(-8, 8).reshape(2, 2, 2, 2)
    x = np.arange(-9, 9, dtype=np.int8).reshape(1, 3, 3, 2)
    narrow = conv_model((1, 3, 3, 2), filter_, (0, 0), types=(DType.INT8, DType.INT4, DType.INT32))
    wide = conv_model((1, 3, 3, 2), filter_, (0, 0))
    assert np.array_equal(run_forms(narrow, {"x": x})[1][0], run_forms(wide, {"x": x})[1][0])


def test_filter_and_bias_may_be_activations():
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 2, 2, 1), scale=0.5)
    filter_ = b.input("filter", DType.INT8, (1, 1, 1, 1), scale=0.5)
    bias = b.input("bias", DType.INT32, (1,), scale=0.25)
    y = b.tensor("y", DType.INT8, (1, 2, 2, 1), scale=0.25)
    b.op("CONV_2D", [x, filter_, bias], [y], stride_h=1, stride_w=1)
    sample = {
        "x": np.array([1, 2, 3, 4], np.int8).reshape(1, 2, 2, 1),
        "filter": np.full((1, 1, 1, 1), 2, np.int8),
        "bias": np.array([1], np.int32),
    }
    for outputs in run_forms(b.finish([y]), sample):
        assert outputs[0].ravel().tolist() == [3, 5, 7, 9]


INT16 = (DType.INT16, DType.INT8, DType.INT32)
UINT8 = (DType.UINT8, DType.UINT8, DType.INT32)
FLOAT_UINT8 = (DType.FLOAT32, DType.UINT8, DType.FLOAT32)
TWO = np.ones((2, 1, 1, 1), int)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": 2}, ModelError, "expected 3 inputs, found 2"),
        ({"has_bias": False}, ModelError, "expected a tensor as input 2, found none"),
        ({"has_bias": False, "types": (DType.FLOAT32,) * 3}, ModelError, "expected a tensor as input 2, found none"),
        ({"x_shape": (1, 1, 1, 3), "filter_": np.ones((1, 1, 1, 2), int)}, ModelError, "multiple of the filter's 2"),
        ({"x_shape": (1, 1, 1, 2)}, ModelError, "divide into 2 groups, found 1"),
        ({"x_shape": (1, 1, 1)}, ModelError, "4 dimensions"),
        ({"x_shape": (1, 0, 1, 1)}, ModelError, "positive sizes"),
        ({"bias": (1, 2)}, ModelError, "one bias an output channel"),
        ({"stride_h": 0}, ModelError, "positive stride"),
        ({"dilation_w_factor": -1}, ModelError, "positive stride and dilation"),
        ({"padding": 7}, ModelError, "padding to be one of"),
        ({"fused_activation_function": 9}, ModelError, "fused_activation_function to be one of"),
        (
            {"x_shape": (1, 1, 1, 1), "filter_": np.ones((1, 9, 9, 1), int), "padding": 1},
            ModelError,
            "window of reach 9",
        ),
        ({"x": None}, ModelError, "quantization parameters on 'x'"),
        ({"weights": (0.5, 3)}, ModelError, "filter zero points to be 0"),
        ({"bias_scale": (0.25, 1)}, ModelError, "bias's zero point to be 0"),
        ({"types": INT16}, UnsupportedError, "reads 'bias' as int64, past its end"),
        ({"types": INT16, "quantized_bias_type": 4}, ModelError, "'bias' to be INT64"),
        ({"types": INT16, "quantized_bias_type": 9}, ModelError, "INT32 .2. or INT64 .4."),
        ({"types": INT16, "quantized_bias_type": 2, "x": (0.5, 1)}, ModelError, "zero point 0 on 'x'"),
        ({"types": UINT8, "bias_scale": (0.3, 0)}, ModelError, "bias scale within 0.02"),
        (
            {"types": UINT8, "filter_": TWO, "bias": (0, 0), "weights": ([0.5, 1], [0, 0])},
            ModelError,
            "1 filter scales",
        ),
        ({"types": (DType.INT8, DType.UINT8, DType.INT32)}, UnsupportedError, "CONV_2D from .INT8, UINT8, INT32"),
        ({"types": (DType.UINT8, DType.INT8, DType.INT32)}, UnsupportedError, "covered: int8 x int8"),
        ({"types": (DType.INT16, DType.INT16, DType.INT64)}, UnsupportedError, "covered: int8 x int8"),
        ({"types": (DType.INT8, DType.INT8, DType.INT64)}, ModelError, "'bias' to be INT32"),
        ({"types": FLOAT_UINT8, "x_shape": (1, 1, 1, 2), "filter_": TWO, "bias": (0, 0)}, UnsupportedError, "1 group"),
        ({"y": (1e-30, 0)}, SpecError, "real multipliers below"),
        ({"types": (DType.INT16, DType.INT8, DType.INT64), "y": (1e-6, 0)}, UnsupportedError, "real multipliers below"),
        ({"x_shape": (1, 60000, 60000, 1), "dilation_h_factor": 9}, None, ""),
    ],
)
def test_broken_contracts_are_named(arguments, error, message):
    model = conv_model(**arguments)
    if error is None:
        prepare_op(model)
        return
    with pytest.raises(error, match=message):
        prepare_op(model)


def test_a_dilation_far_wider_than_the_image_leaves_the_middle_tap():
    filter_ = np.arange(1, 10).reshape(1, 3, 3, 1)
    model = conv_model((1, 1, 2, 1), filter_, dilation_h_factor=1 << 30, dilation_w_factor=1 << 30, y=(0.25, 0))
    for outputs in run_forms(model, {"x": np.array([2, -3], np.int8).reshape(1, 1, 2, 1)}):
        assert outputs[0].ravel().tolist() == [2 * 5, -3 * 5]


@pytest.mark.parametrize("types", [(DType.INT8, DType.INT8, DType.INT32), (DType.FLOAT32,) * 3])
def test_the_only_tap_that_meets_the_image_may_lie_beside_the_window_s_place(types):
    """Two taps three columns apart on two columns: the first meets the column before, the second none."""
    model = conv_model((1, 1, 2, 1), [[[[2], [5]]]], types=types, dilation_w_factor=3, y=(0.25, 0))
    x = np.array([3, 4], types[0].storage).reshape(1, 1, 2, 1)
    for outputs in run_forms(model, {"x": x}):
        assert outputs[0].ravel().tolist() == [0, 6]
