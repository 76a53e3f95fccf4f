"""DEPTHWISE_CONV_2D against LiteRT, against loops over Python integers, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
import quantref
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.depthwise_conv import CELLS
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples
from tests.oracles import convolution, rational


def depthwise_model(
    x_shape=(1, 1, 1, 1),
    filter_=((((2,),),),),
    bias=(0,),
    *,
    types=(DType.INT8, DType.INT8, DType.INT32),
    x=(0.5, 0),
    weights=(0.5, 0),
    y=(1.0, 0),
    bias_scale=(0.25, 0),
    axis=3,
    **options,
):
    """Build a DEPTHWISE_CONV_2D; quantization as (scale, zero point), no bias for ``bias=None``."""
    b = fbs.Builder()
    scales = [{"scale": scale, "zero_point": zero_point} for scale, zero_point in (x, weights, bias_scale, y)]
    slots = [
        b.input("x", types[0], x_shape, **scales[0]),
        b.constant("filter", np.array(filter_), types[1], **scales[1], quantized_dimension=axis),
    ]
    if bias is not None:
        slots.append(b.constant("bias", np.array(bias), types[2], **scales[2]))
    out = b.tensor("y", types[0], (), **scales[3])
    b.op("DEPTHWISE_CONV_2D", slots, [out], options={"stride_h": 1, "stride_w": 1, "depth_multiplier": 1, **options})
    return b.finish([out])


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
    assert assert_goldens_match(shared, "DEPTHWISE_CONV_2D") > 20_000


@examples(25)
@given(data=st.data())
def test_definition_equals_loops_over_integers(data):
    # A depthwise convolution is a convolution with as many groups as input channels.
    stride, dilation, channels, multiplier = (data.draw(st.integers(1, 3)) for _ in range(4))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    same = data.draw(st.booleans())
    size = [data.draw(st.integers(1 if same else (k - 1) * dilation + 1, 7)) for k in kernel]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-32768, 32768, (1, *size, channels)).astype(np.int16)
    filter_ = rng.integers(-127, 128, (1, *kernel, channels * multiplier)).astype(np.int8)
    bias = rng.integers(-(2**40), 2**40, channels * multiplier) >> rng.integers(0, 40)
    real = data.draw(st.sampled_from([2.0**-8, 3 * 2.0**-10, 1 / 300, 1.5]))
    model = depthwise_model(
        x.shape,
        filter_,
        bias,
        types=(DType.INT16, DType.INT8, DType.INT64),
        x=(real, 0),
        weights=(1.0, 0),
        padding=0 if same else 1,
        stride_h=stride,
        stride_w=stride,
        dilation_h_factor=dilation,
        dilation_w_factor=dilation,
    )
    definition, compiled = run_forms(model, {"x": x})
    as_groups = filter_.transpose(3, 1, 2, 0).tolist()
    sums = convolution.conv_sums(x[0].tolist(), as_groups, stride, dilation, channels, same=same)
    multiplier, shift = rational.encode(float(np.float32(real)))
    for place, total in sums.items():
        scaled = rational.reduced_64(total + int(bias[place[2]]), multiplier, shift)
        assert definition[0][0][place] == compiled[0][0][place] == min(max(scaled, -32768), 32767)
    assert definition[0].size == len(sums)


def test_each_output_channel_reads_its_input_channel_step_by_step():
    # Two input channels, three outputs each: 10 * (1, 2, 3) and 20 * (4, 5, 6), in units of 1/4; the output's is 5.
    model = depthwise_model((1, 1, 1, 2), [[[[1, 2, 3, 4, 5, 6]]]], [0] * 6, y=(1.25, 0))
    (y,), stages = trace(model, {"x": np.array([10, 20], np.int8).reshape(1, 1, 1, 2)})
    assert stages["accumulator"] == [[[[10, 20, 30, 80, 100, 120]]]]
    assert y.tolist() == [[[[2, 4, 6, 16, 20, 24]]]]


def test_the_option_depth_multiplier_is_ignored():
    model = depthwise_model((1, 1, 1, 1), [[[[4, 8]]]], [0, 0], depth_multiplier=7)
    for outputs in run_forms(model, {"x": np.full((1, 1, 1, 1), 2, np.int8)}):
        assert outputs[0].tolist() == [[[[2, 4]]]]


def test_zero_points_of_an_int8_filter_are_ignored():
    model = depthwise_model((1, 1, 1, 1), [[[[4]]]], weights=(0.5, 3))
    for outputs in run_forms(model, {"x": np.full((1, 1, 1, 1), 2, np.int8)}):
        assert outputs[0].tolist() == [[[[2]]]]


def test_a_hybrid_image_of_constant_values_is_exact():
    # The largest value is 255 steps above 0, so that it and 0 are codes; the filter takes 2 * 0.5 of it.
    types = (DType.FLOAT32, DType.INT8, DType.FLOAT32)
    model = depthwise_model((1, 1, 1, 1), types=types)
    for outputs in run_forms(model, {"x": np.full((1, 1, 1, 1), 51.0, np.float32)}):
        assert outputs[0].tolist() == [[[[51.0]]]]


TWO = ((((2, 2),),),)
HYBRID = (DType.FLOAT32, DType.INT8, DType.FLOAT32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x_shape": (1, 1, 1, 3), "filter_": TWO, "bias": (0, 0)}, ModelError, "multiple of the input's 3, found 2"),
        ({"filter_": np.ones((2, 1, 1, 1), int)}, ModelError, "first dimension is 1"),
        ({"x_shape": (1, 1, 1, 0)}, ModelError, "at least one channel"),
        ({"bias": ((0,),)}, ModelError, "'bias' to have 1 dimensions"),
        ({"stride_w": -1}, ModelError, "positive stride"),
        ({"types": (DType.INT16, DType.INT8, DType.INT32)}, ModelError, "'bias' to be INT64"),
        ({"types": (DType.INT16, DType.INT4, DType.INT64)}, UnsupportedError, "from .INT16, INT4, INT64"),
        ({"types": (DType.FLOAT32, DType.INT4, DType.FLOAT32)}, UnsupportedError, "covered: int8 x int8"),
        ({"types": (DType.INT8, DType.UINT8, DType.INT32)}, UnsupportedError, "covered: int8 x int8"),
        ({"types": HYBRID, "filter_": TWO, "bias": (0, 0)}, UnsupportedError, "reads past the end of the scales"),
        ({"types": (DType.UINT8, DType.UINT8, DType.INT32), "bias_scale": (1.0, 0)}, ModelError, "bias scale within"),
        ({"bias_scale": (0.25, 9)}, ModelError, "zero point to be 0, found 9"),
    ],
)
def test_broken_contracts_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        prepare_op(depthwise_model(**arguments))


def test_one_filter_scale_stands_for_all_channels_where_that_is_asked_for():
    one = depthwise_model((1, 1, 2, 2), TWO, (0, 1), types=HYBRID)
    each = depthwise_model((1, 1, 2, 2), TWO, (0, 1), types=HYBRID, weights=((0.5, 0.5), 0))
    x = np.float32([[[[1, -2], [3, 0.25]]]])
    expected = quantref.run(each, {"x": x})["y"]
    assert quantref.run(one, {"x": x}, profile="litert-reference-sound")["y"].tolist() == expected.tolist()


def test_hybrid_refuses_an_empty_batch():
    model = depthwise_model((0, 1, 1, 1), types=HYBRID)
    with pytest.raises(ModelError, match="at least one image"):
        run_forms(model, {"x": np.zeros((0, 1, 1, 1), np.float32)})
