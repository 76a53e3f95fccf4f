"""TRANSPOSE_CONV against LiteRT, against loops over Python integers, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.transpose_conv import CELLS
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples
from tests.oracles import convolution, rational


def transpose_model(
    x_shape=(1, 1, 1, 1),
    filter_=((((2,),),),),
    output_shape=(1, 1, 1, 1),
    bias=(0,),
    *,
    types=(DType.INT8, DType.INT8, DType.INT32),
    x=(0.5, 0),
    weights=(0.5, 0),
    y=(1.0, 0),
    bias_scale=(0.25, 0),
    shape_type=DType.INT32,
    dynamic=False,
    **options,
):
    """Build a TRANSPOSE_CONV; quantization as (scale, zero point), no bias for ``bias=None``."""
    b = fbs.Builder()
    scales = [{"scale": scale, "zero_point": zero_point} for scale, zero_point in (x, weights, bias_scale, y)]
    shape = np.array(output_shape)
    slots = [
        b.input("shape", shape_type, shape.shape) if dynamic else b.constant("shape", shape, shape_type),
        b.constant("filter", np.array(filter_), types[1], **scales[1]),
        b.input("x", types[0], x_shape, **scales[0]),
        None if bias is None else b.constant("bias", np.array(bias), types[2], **scales[2]),
    ]
    out = b.tensor("y", types[0], (), **scales[3])
    b.op("TRANSPOSE_CONV", slots, [out], options={"stride_h": 1, "stride_w": 1, **options})
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
    assert assert_goldens_match(shared, "TRANSPOSE_CONV") > 20_000


@examples(25)
@given(data=st.data())
def test_definition_equals_loops_over_integers(data):
    stride, depth, channels = (data.draw(st.integers(1, 3)) for _ in range(3))
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    same = data.draw(st.booleans())
    output = tuple(data.draw(st.integers(1 if same else k, 8)) for k in kernel)
    pixels = [convolution.padding(size, k, stride, 1, same=same)[0] for size, k in zip(output, kernel, strict=True)]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-128, 128, (1, *pixels, depth)).astype(np.int8)
    filter_ = rng.integers(-127, 128, (channels, *kernel, depth)).astype(np.int8)
    bias = rng.integers(-300, 300, channels)
    real = data.draw(st.sampled_from([2.0**-7, 3 * 2.0**-9, 1 / 300]))
    model = transpose_model(
        x.shape,
        filter_,
        (1, *output, channels),
        bias,
        x=(real, -5),
        weights=(1.0, 0),
        y=(1.0, 3),
        padding=0 if same else 1,
        stride_h=stride,
        stride_w=stride,
    )
    definition, compiled = run_forms(model, {"x": x})
    steps = (x[0].astype(int) + 5).tolist()
    sums = convolution.transpose_conv_sums(steps, filter_.tolist(), stride, output, same=same)
    multiplier, shift = rational.encode(float(np.float32(real)))
    for place, total in sums.items():
        scaled = rational.double_rounding(total + int(bias[place[2]]), multiplier, shift)
        assert definition[0][0][place] == compiled[0][0][place] == min(max(scaled + 3, -128), 127)
    assert definition[0].size == len(sums)


def test_two_pixels_overlap_step_by_step():
    # Pixels 10 and 20, two apart, each spread (1, 2, 3): they meet in the middle. Units of 1/4, the output's is 1/4.
    model = transpose_model((1, 1, 2, 1), [[[[1], [2], [3]]]], (1, 1, 5, 1), (1,), padding=1, stride_w=2, y=(0.25, 0))
    (y,), stages = trace(model, {"x": np.array([10, 20], np.int8).reshape(1, 1, 2, 1)})
    assert np.ravel(stages["accumulator"]).tolist() == [11, 21, 51, 41, 61]
    assert y.ravel().tolist() == [11, 21, 51, 41, 61]


def test_what_no_window_reaches_is_the_bias():
    model = transpose_model((1, 1, 1, 1), [[[[2]]]], (1, 1, 2, 1), (8,), padding=1, stride_w=2)
    for outputs in run_forms(model, {"x": np.full((1, 1, 1, 1), 10, np.int8)}):
        assert outputs[0].ravel().tolist() == [7, 2]


def test_the_output_shape_may_come_at_run_time():
    model = transpose_model(output_shape=(1, 1, 1, 1), dynamic=True)
    for outputs in run_forms(model, {"x": np.full((1, 1, 1, 1), 6, np.int8), "shape": np.ones(4, np.int32)}):
        assert outputs[0].tolist() == [[[[3]]]]


def test_zero_points_of_an_int8_filter_are_ignored():
    for outputs in run_forms(transpose_model(weights=(0.5, 9)), {"x": np.full((1, 1, 1, 1), 6, np.int8)}):
        assert outputs[0].tolist() == [[[[3]]]]


INT16 = (DType.INT16, DType.INT8, DType.INT32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shape_type": DType.INT64}, ModelError, "'shape' to be INT32"),
        ({"output_shape": (1, 1, 1)}, ModelError, "4 dimensions, found 3"),
        ({"output_shape": (2, 1, 1, 1)}, ModelError, "output batch of 1, found 2"),
        ({"output_shape": (1, 1, 1, 2)}, ModelError, "1 output channels, found 2"),
        ({"output_shape": (1, 1, 2, 1)}, ModelError, "found .1, 2., of which it makes .1, 2."),
        ({"output_shape": (1, 0, 1, 1)}, ModelError, "positive sizes"),
        ({"output_shape": (1, -1, 1, 1)}, ModelError, "not negative"),
        ({"output_shape": (1, 1 << 30, 1, 1), "stride_h": 1 << 30}, UnsupportedError, "elements in a tensor"),
        ({"x_shape": (1, 1, 1, 2)}, ModelError, "1 input channels, as the filter has, found 2"),
        ({"x_shape": (1, 0, 1, 1)}, ModelError, "without empty dimensions"),
        ({"stride_h": 0}, ModelError, "positive stride"),
        ({"bias": (0, 0)}, ModelError, "one bias an output channel"),
        ({"bias_scale": (0.25, 1)}, ModelError, "zero point to be 0"),
        ({"types": INT16}, UnsupportedError, "reads 'bias' as int64, past its end"),
        ({"types": (DType.INT8, DType.INT4, DType.INT32)}, UnsupportedError, "covered: int8 x int8"),
        ({"types": (DType.FLOAT32, DType.INT4, DType.FLOAT32)}, UnsupportedError, "covered: int8 x int8"),
    ],
)
def test_broken_contracts_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        prepare_op(transpose_model(**arguments))
