"""FULLY_CONNECTED against LiteRT, against loops over Python integers, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
from kernels.engine import registry
from kernels.profiles import LITERT_OPTIMIZED, TFLM
from qmath.errors import ModelError, UnsupportedError
from qmath.stages import silent
from qmath.types import DType
from quantref.vectors.cells.fully_connected import CELLS, stored_model
from tests.kernels.forms import assert_forms_agree, inputs_of, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples
from tests.oracles import rational

INT8 = (DType.INT8, DType.INT8, DType.INT8, DType.INT32)
INT16 = (DType.INT16, DType.INT8, DType.INT16, DType.INT64)
FLOAT = (DType.FLOAT32, DType.FLOAT32, DType.FLOAT32, DType.FLOAT32)
HYBRID = (DType.FLOAT32, DType.INT8, DType.FLOAT32, DType.FLOAT32)


def model_of(
    weights=((2,),),
    bias=(0,),
    *,
    types=INT8,
    x_shape=None,
    x=(0.5, 0),
    w=(0.5, 0),
    y=(1.0, 0),
    bias_scale=(0.25, 0),
    axis=0,
    **options,
):
    """Build a FULLY_CONNECTED; types of input, weights, output, bias; quantization as (scale, zero point)."""
    matrix = np.array(weights, types[1].storage)
    b = fbs.Builder()

    def params(dtype, quantization):
        plain = dtype is DType.FLOAT32 or quantization is None
        return {} if plain else {"scale": quantization[0], "zero_point": quantization[1]}

    slots = [
        b.input("x", types[0], x_shape or (1, matrix.shape[1]), **params(types[0], x)),
        b.constant("w", matrix, types[1], **params(types[1], w), quantized_dimension=axis),
    ]
    if bias is not None:
        slots.append(b.constant("b", np.array(bias, types[3].storage), types[3], **params(types[3], bias_scale)))
    out = b.tensor("y", types[2], (), **params(types[2], y))
    b.op("FULLY_CONNECTED", slots, [out], options=options)
    return b.finish([out])


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=2000) >= 2000


@pytest.mark.parametrize("cell", CELLS)
@examples(3)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize("profile", ["litert-reference", "tflm", "cmsis-nn"])
def test_goldens(profile, shared):
    assert assert_goldens_match(shared, "FULLY_CONNECTED", profile.replace("-", "_"), profile) > 35_000


@examples(25)
@given(data=st.data())
def test_definition_equals_loops_over_integers(data):
    depth, units, rows = (data.draw(st.integers(1, 6)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x, weights = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((rows, depth), (units, depth)))
    bias = rng.integers(-300, 300, units)
    real = data.draw(st.sampled_from([2.0**-7, 2.0**-6, 3 * 2.0**-9, 1 / 300]))
    model = model_of(weights, bias, x_shape=x.shape, x=(real, -5), w=(1.0, 2), bias_scale=(real, 0), y=(1.0, 3))
    (definition,), (compiled,) = run_forms(model, {"x": x})
    assert definition.shape == (rows, units)
    for row, unit in np.ndindex(rows, units):
        total = sum((int(a) + 5) * (int(b) - 2) for a, b in zip(x[row], weights[unit], strict=True))
        scaled = rational.float64_half_away(total + int(bias[unit]), float(np.float32(real)))
        assert definition[row, unit] == compiled[row, unit] == min(max(scaled + 3, -128), 127)


def test_one_product_step_by_step():
    # (7 - 1) * (3 - 1) + 4 = 16 quarters = 4.0; in halves, from -3: code 5.
    model = model_of([[3]], [4], x=(0.5, 1), w=(0.5, 1), y=(0.5, -3))
    (y,), stages = trace(model, {"x": np.full((1, 1), 7, np.int8)})
    assert stages["sum"] == [[12]]
    assert stages["accumulator"] == [[16]]
    assert y.tolist() == [[5]]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        # float64 products: ties away from zero.
        (INT8, [-2, -1, 1, 2]),
        # 64-bit accumulators: one shift, ties up.
        ((DType.INT16, DType.INT16, DType.INT16, DType.INT64), [-1, 0, 1, 2]),
    ],
)
def test_ties_of_minus_and_plus_one_and_a_half(types, expected):
    model = model_of([[1]], [0], types=types, x_shape=(4, 1), w=(1.0, 0), bias_scale=(0.5, 0))
    (definition,), (compiled,) = run_forms(model, {"x": np.array([[-3], [-1], [1], [3]], types[0].storage)})
    assert definition.ravel().tolist() == compiled.ravel().tolist() == expected


def test_in_tflite_micro_the_bias_says_how_wide_16x8_accumulates():
    # A multiplier of 1/2 times 1/4: two roundings make 2 of 12 / 8 = 1.5, and -2 of -1.5; one, ties up, makes -1.
    for bias_type, expected in ((DType.INT32, [-2, 2]), (DType.INT64, [-1, 2])):
        types = (DType.INT16, DType.INT8, DType.INT16, bias_type)
        model = model_of([[1]], types=types, x_shape=(2, 1), x=(0.125, 0), w=(1.0, 0), bias_scale=(0.125, 0))
        prepared = registry.prepare(fbs.view(model.subgraphs[0], 0), TFLM)
        (y,) = prepared.evaluate(inputs_of(model, {"x": np.array([[-12], [12]], np.int16)}), silent)
        assert y.ravel().tolist() == expected


def test_elements_left_over_are_ignored():
    model = model_of([[1, 1]], x_shape=(2, 3), x=(1.0, 0), w=(1.0, 0), bias_scale=(1.0, 0))
    for outputs in run_forms(model, {"x": np.array([[1, 2, 3], [4, 5, 6]], np.int8)}):
        assert outputs[0].tolist() == [[3], [7], [11]]
    model = model_of([[1, 1]], x_shape=(5,), x=(1.0, 0), w=(1.0, 0), bias_scale=(1.0, 0))
    for outputs in run_forms(model, {"x": np.array([1, 2, 3, 4, 5], np.int8)}):
        assert outputs[0].tolist() == [[3], [7]]


def test_keep_num_dims_keeps_the_shape():
    model = model_of(
        [[1, 1]] * 3, (0, 0, 0), x_shape=(2, 1, 2), x=(1.0, 0), w=(1.0, 0), bias_scale=(1.0, 0), keep_num_dims=True
    )
    for outputs in run_forms(model, {"x": np.arange(4, dtype=np.int8).reshape(2, 1, 2)}):
        assert outputs[0].tolist() == [[[1, 1, 1]], [[5, 5, 5]]]


def test_an_empty_depth_gives_codes_zero():
    model = model_of(np.zeros((2, 0)), (100, 100), x_shape=(3, 0), y=(1.0, 7), keep_num_dims=True)
    for outputs in run_forms(model, {"x": np.zeros((3, 0), np.int8)}):
        assert outputs[0].tolist() == [[0, 0]] * 3


def test_per_axis_weights_have_no_zero_points():
    scales = {"x": (1.0, 0), "bias_scale": ([0.5, 0.25], [0, 0])}
    model = model_of([[4], [4]], (0, 0), w=([0.5, 0.25], [3, 3]), **scales)
    for outputs in run_forms(model, {"x": np.array([[2]], np.int8)}):
        assert outputs[0].tolist() == [[4, 2]]


def test_an_int64_bias_is_read_as_words_of_32_bits():
    # Two units read the low and the high word of the first bias.
    types = (DType.INT8, DType.INT8, DType.INT8, DType.INT64)
    model = model_of([[1], [1]], (5 + (7 << 32), 100), types=types, x=(1.0, 0), w=(1.0, 0), bias_scale=(1.0, 0))
    for outputs in run_forms(model, {"x": np.array([[1]], np.int8)}):
        assert outputs[0].tolist() == [[6, 8]]


def test_32_bit_accumulators_of_16x8_wrap():
    types = (DType.INT16, DType.INT8, DType.INT16, DType.INT32)
    model = model_of(np.full((1, 600), 127), types=types, y=(2.0**14, 0), quantized_bias_type=DType.INT32.value)
    (_,), stages = trace(model, {"x": np.full((1, 600), 32767, np.int16)})
    assert stages["accumulator"] == [[600 * 127 * 32767 - 2**32]]


def test_weights_and_bias_may_be_activations():
    b = fbs.Builder()
    x = b.input("x", DType.INT8, (1, 2), scale=0.5)
    w = b.input("w", DType.INT8, (2, 2), scale=0.5)
    bias = b.input("b", DType.INT32, (2,), scale=0.25)
    y = b.tensor("y", DType.INT8, (1, 2), scale=0.25)
    b.op("FULLY_CONNECTED", [x, w, bias], [y])
    sample = {
        "x": np.array([[1, 2]], np.int8),
        "w": np.array([[3, 4], [5, -6]], np.int8),
        "b": np.array([1, 2], np.int32),
    }
    for outputs in run_forms(b.finish([y]), sample):
        assert outputs[0].tolist() == [[12, -5]]


def test_float_products_are_added_in_order():
    # 2**24 + 1 is not a float32: from the left the ones are lost, from the right they are not.
    sample = {"x": np.ones((1, 3), np.float32)}
    for row, expected in (([2.0**24, 1, 1], 2.0**24), ([1, 1, 2.0**24], 2.0**24 + 2)):
        for outputs in run_forms(model_of([row], types=FLOAT), sample):
            assert outputs[0].tolist() == [[expected]]


def test_hybrid_by_hand():
    # Scale 2.54 / 127 = 0.02: codes 127 and -50; 127 * 2 - 50 * 1 = 204; times 0.02 * 0.5, plus 1.
    model = model_of([[2, 1]], (1.0,), types=HYBRID)
    (y,), stages = trace(model, {"x": np.array([[2.54, -1.0]], np.float32)})
    assert stages["quantized input"] == [[127, -50]]
    assert stages["accumulator"] == [[204]]
    assert y[0, 0] == pytest.approx(3.04, abs=1e-6)


def test_hybrid_gives_the_bias_where_the_whole_input_is_zero():
    model = model_of([[2, 1]], (-3.0,), types=HYBRID, fused_activation_function=0)
    for outputs in run_forms(model, {"x": np.zeros((1, 2), np.float32)}):
        assert outputs[0].tolist() == [[-3.0]]


def test_hybrid_loses_the_sign_of_minus_128_times_a_negative_code():
    # In a whole group of 16 columns the vector code takes -128 * -127 for 128 * -127; in what is left over it does not.
    grouped = model_of(np.full((1, 16), -128), None, types=HYBRID, w=(1.0, 0))
    alone = model_of(np.full((1, 15), -128), None, types=HYBRID, w=(1.0, 0))
    x = np.full((1, 16), -127, np.float32)
    for outputs in run_forms(grouped, {"x": x}):
        assert outputs[0].tolist() == [[-16.0 * 128 * 127]]
    for outputs in run_forms(alone, {"x": x[:, :15]}):
        assert outputs[0].tolist() == [[15.0 * 128 * 127]]


@pytest.mark.parametrize(("places", "overflow"), [((0, 8), 1 << 16), ((0, 1), 0)])
def test_sparse_int8_adds_products_8_apart_in_16_bits(places, overflow):
    weights, rng = np.full((1, 16), -128, np.int8), np.random.default_rng(0)
    model = stored_model(weights, 16, DType.INT8, float_input=False, bias=None, rng=rng, scales=1, options={})
    x = np.zeros((1, 16), np.int8)
    x[0, list(places)] = -128
    (zero_point,) = fbs.view(model.subgraphs[0], 0).inputs[0].quant.zero_point.tolist()
    (_,), stages = trace(model, {"x": x})
    assert stages["accumulator"] == [[2 * 128 * 128 + 16 * 128 * zero_point - overflow]]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weights": [1, 2], "x_shape": (1, 1)}, ModelError, "2 dimensions"),
        ({"bias": (1, 2)}, ModelError, "one bias a unit .1., found .2,."),
        ({"x_shape": (1, 2), "keep_num_dims": True}, ModelError, "input rows of 1 elements"),
        ({"fused_activation_function": 4}, ModelError, "an activation that clamps, found TANH"),
        ({"fused_activation_function": 9}, ModelError, "fused_activation_function to be one of"),
        ({"weights_format": 7}, ModelError, "weights_format to be one of"),
        ({"bias_scale": (0.3, 0), "y": (0.01, 0)}, ModelError, "the bias's scale to be 0.25"),
        ({"x": None}, ModelError, "quantization parameters on 'x'"),
        ({"types": (DType.INT8, DType.INT8, DType.INT8, DType.INT16)}, ModelError, "'b' to be INT32 or INT64"),
        ({"types": INT16, "x": (0.5, 1)}, ModelError, "zero points 0 of int16"),
        ({"types": INT16, "quantized_bias_type": 9}, ModelError, "INT32, INT64 or unset"),
        ({"types": INT16, "quantized_bias_type": 2}, ModelError, "a bias of quantized_bias_type INT32"),
        (
            {"types": (DType.INT16, DType.INT8, DType.INT16, DType.INT32)},
            UnsupportedError,
            "the runtime reads past its end",
        ),
        (
            {"types": (DType.UINT8, DType.UINT8, DType.INT16, DType.INT32), "bias": None},
            ModelError,
            "a bias from UINT8",
        ),
        ({"types": (DType.UINT8, DType.UINT8, DType.INT8, DType.INT32)}, UnsupportedError, "covered: int8 x int8"),
        ({"types": (DType.INT8, DType.INT16, DType.INT8, DType.INT32)}, UnsupportedError, "covered: int8 x int8"),
        ({"types": HYBRID, "w": ([0.5, 0.5], [0, 0])}, ModelError, "1 scales along axis 0, found 2"),
        ({"w": ([0.5, 0.5], [0, 0]), "weights": [[1, 1]] * 3, "bias": (0, 0, 0)}, ModelError, "one scale a unit .3."),
        ({"w": ([0.5, 0.5], [0, 0]), "weights": [[1, 1]] * 2, "bias": (0, 0), "axis": 1}, ModelError, "along axis 0"),
        (
            {"types": (DType.INT8, DType.INT4, DType.INT8, DType.INT32), "w": (0.5, 1)},
            ModelError,
            "zero points 0 of INT4",
        ),
    ],
)
def test_broken_contracts_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        prepare_op(model_of(**arguments))


def shuffled(units=4, depth=16, rows=1, *, bias=True, output=DType.INT16):
    """Build a FULLY_CONNECTED whose weights are stored in blocks of 4x16."""
    b = fbs.Builder()
    x = b.input("x", DType.UINT8, (rows, depth), scale=1.0, zero_point=128)
    codes = np.arange(units * depth, dtype=np.uint8).reshape(units, depth)
    w = b.constant("w", codes, scale=1.0, zero_point=128)
    slots = [x, w, b.constant("b", np.zeros(units, np.int32), scale=1.0)] if bias else [x, w]
    y = b.tensor("y", output, (rows, units), scale=1.0)
    workspace = b.tensor("workspace", DType.UINT8, (rows, depth), scale=1.0)
    b.op("FULLY_CONNECTED", slots, [y, workspace], weights_format=1)
    return b.finish([y, workspace])


def test_shuffled_weights_by_hand():
    # The first 64 codes are the first 16 columns of the 4 units; their sign bits are flipped, so 0 stands for 0.
    columns = np.arange(128).reshape(2, 4, 16)
    for y, workspace in run_forms(shuffled(4, 32), {"x": np.full((1, 32), 129, np.uint8)}):
        assert y.tolist() == [columns.sum(axis=(0, 2)).tolist()]
        assert workspace.tolist() == [[1] * 32]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"units": 6}, ModelError, "whole blocks of 4x16"),
        ({"depth": 24}, ModelError, "whole blocks of 4x16"),
        ({"bias": False}, ModelError, "a bias"),
        ({"output": DType.UINT8}, UnsupportedError, "shuffled in blocks"),
    ],
)
def test_broken_contracts_of_shuffled_weights_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        prepare_op(shuffled(**arguments))


def test_shuffled_weights_take_one_or_four_rows():
    with pytest.raises(UnsupportedError, match="1 or 4 rows"):
        run_forms(shuffled(rows=2), {"x": np.zeros((2, 16), np.uint8)})


def test_optimized_int16_with_a_zero_point_of_the_weights_is_the_reference_kernel():
    """It reads the bias as int64 unless ``quantized_bias_type`` says otherwise; the optimized one reads int32."""
    types = (DType.INT16, DType.INT8, DType.INT16, DType.INT32)
    prepare_op(model_of(types=types), LITERT_OPTIMIZED)
    prepare_op(model_of(types=types, w=(0.5, 1), quantized_bias_type=2), LITERT_OPTIMIZED)
    with pytest.raises(UnsupportedError, match="reads past its end"):
        prepare_op(model_of(types=types, w=(0.5, 1)), LITERT_OPTIMIZED)
