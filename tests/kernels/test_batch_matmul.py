"""BATCH_MATMUL against LiteRT, against loops over Python integers, against goldens, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath.errors import ModelError, UnsupportedError
from qmath.types import DType
from quantref.vectors.cells.batch_matmul import CELLS
from quantref.vectors.cells.build import Operand, Result, dtype_of, one_op
from tests.kernels.forms import assert_forms_agree, prepare_op, run_forms, trace
from tests.kernels.goldens import assert_goldens_match
from tests.kernels.sweeps import compare_cell, examples
from tests.oracles import rational


def build(left, right, to=DType.INT8, *, x=(0.5, 0), w=(0.5, 0), y=(0.25, 0), constant=False, axis=0, **options):
    """Build a BATCH_MATMUL of arrays; quantization as (scale, zero point) of what is no float."""

    def params(dtype, quantization):
        plain = not dtype.is_integer or dtype is DType.INT32
        return {} if plain else dict(zip(("scale", "zero_point"), quantization, strict=True))

    left, right = np.asarray(left), np.asarray(right)
    of_right = params(dtype_of(right), w) | ({"quantized_dimension": axis} if axis else {})
    operands = [Operand(left, params=params(dtype_of(left), x)), Operand(right, None, constant, of_right)]
    return one_op("", "BATCH_MATMUL", operands, [Result(to, params(to, y))], version=4, **options).model


def run(left, right, *args, **kwargs):
    """Run both forms and return their common output as a list."""
    sample = {"x0": np.asarray(left), "x1": np.asarray(right)}
    (definition,), (compiled,) = run_forms(build(left, right, *args, **kwargs), sample)
    assert np.array_equal(definition, compiled)
    return definition.tolist()


@pytest.mark.litert
@pytest.mark.parametrize("cell", CELLS)
def test_litert_gives_the_same(cell, litert):
    assert compare_cell(cell, CELLS[cell], litert, least=2000) >= 2000


@pytest.mark.parametrize("cell", CELLS)
@examples(5)
@given(seed=st.integers(0, 2**32 - 1))
def test_compiled_form_equals_definition(cell, seed):
    assert assert_forms_agree(next(CELLS[cell](np.random.default_rng(seed)))) > 0


@pytest.mark.shared
@pytest.mark.parametrize(
    "profile", ["litert-reference", "litert-optimized", "litert-optimized-arm64", "tflm", "cmsis-nn"]
)
def test_goldens(profile, shared):
    assert assert_goldens_match(shared, "BATCH_MATMUL", profile.replace("-", "_"), profile) > 10_000


@examples(25)
@given(data=st.data())
def test_definition_equals_loops_over_integers(data):
    rows, depth, columns = (data.draw(st.integers(1, 5)) for _ in range(3))
    leading = data.draw(st.sampled_from([((), ()), ((2,), (2,)), ((2, 1), (3,)), ((1,), (2, 3)), ((3,), ())]))
    swap = data.draw(st.booleans()), data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    left = rng.integers(-128, 128, (*leading[0], rows, depth)).astype(np.int8)
    right = rng.integers(-128, 128, (*leading[1], depth, columns)).astype(np.int8)
    real = data.draw(st.sampled_from([2.0**-7, 2.0**-6, 3 * 2.0**-9, 1 / 300]))
    given_sides = [side.swapaxes(-1, -2) if flag else side for side, flag in zip((left, right), swap, strict=True)]
    found = run(*given_sides, x=(real, -5), w=(1.0, 2), y=(1.0, 3), adj_x=swap[0], adj_y=swap[1])
    multiplier, shift = rational.encode(float(np.float32(real)))
    batch = np.broadcast_shapes(*leading)
    left, right = np.broadcast_to(left, (*batch, rows, depth)), np.broadcast_to(right, (*batch, depth, columns))
    expected = np.zeros((*batch, rows, columns), int)
    for *outer, row, column in np.ndindex(expected.shape):
        pairs = zip(left[(*outer, row)], right[tuple(outer)][:, column], strict=True)
        total = sum((int(a) + 5) * (int(b) - 2) for a, b in pairs)
        expected[(*outer, row, column)] = np.clip(rational.double_rounding(total, multiplier, shift) + 3, -128, 127)
    assert found == expected.tolist()


def test_one_product_step_by_step():
    model = build(np.array([[7]], np.int8), np.array([[3]], np.int8), x=(0.5, 1), w=(0.5, 1), y=(0.5, -3))
    (y,), stages = trace(model, {"x0": np.array([[7]], np.int8), "x1": np.array([[3]], np.int8)})
    assert stages["accumulator"] == [[12]]
    assert y.tolist() == [[3]]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        # A multiplier of 1/2 rounds ties up.
        (np.array([[-3], [-1], [1], [3]], np.int8), [[-1], [0], [1], [2]]),
        (np.array([[-3], [-1], [1], [3]], np.int16), [[-1], [0], [1], [2]]),
    ],
)
def test_ties_of_minus_and_plus_one_and_a_half(codes, expected):
    to = dtype_of(codes)
    assert run(codes, np.array([[1]], np.int8), to, x=(0.5, 0), w=(1.0, 0), y=(1.0, 0)) == expected


def test_a_constant_right_side_gives_the_same():
    left, right = np.arange(-8, 8, dtype=np.int8).reshape(2, 2, 4), np.arange(-6, 6, dtype=np.int8).reshape(4, 3)
    assert run(left, right, constant=True) == run(left, right)


def test_int32_outputs_ignore_zero_points():
    left, right = np.array([[3, 4]], np.int8), np.array([[5], [6]], np.int8)
    assert run(left, right, DType.INT32, x=(0.5, 9), w=(0.5, 9)) == [[39]]


def test_16_bit_sums_do_not_wrap_at_32_bits():
    left, right = np.full((1, 4), 32767, np.int16), np.full((4, 1), 32767, np.int16)
    assert run(left, right, DType.INT16, x=(1.0, 0), w=(1.0, 0), y=(2.0**18, 0)) == [[4 * 32767**2 >> 18]]


def test_float_products_are_added_in_order():
    ones = np.ones((3, 1), np.float32)
    assert run(np.array([[2.0**24, 1, 1]], np.float32), ones, DType.FLOAT32) == [[2.0**24]]
    assert run(np.array([[1, 1, 2.0**24]], np.float32), ones, DType.FLOAT32) == [[2.0**24 + 2]]


def test_hybrid_by_hand():
    # Row scales 2.54 / 127 and 1.27 / 127: codes (127, -50) and (127, 0).
    left, right = np.array([[2.54, -1.0], [1.27, 0]], np.float32), np.array([[2], [1]], np.int8)
    model = build(left, right, DType.FLOAT32, w=(0.5, 0))
    (y,), stages = trace(model, {"x0": left, "x1": right})
    assert stages["quantized input"] == [[127, -50], [127, 0]]
    assert stages["accumulator"] == [[204], [254]]
    assert y.ravel() == pytest.approx([2.04, 1.27])


def test_hybrid_takes_the_scales_of_other_matrices_where_two_dimensions_lead():
    # Matrix (1, 0) takes the scale of the second matrix, (0, 1), which is zero, and its scale so 1.
    left = np.zeros((2, 2, 1, 1), np.float32)
    left[1, 0] = 254
    assert run(left, np.ones((1, 1), np.int8), DType.FLOAT32, w=(1.0, 0)) == [[[[0]], [[0]]], [[[127.0]], [[0]]]]


@pytest.mark.parametrize(("rows", "depth", "columns"), [(0, 3, 2), (2, 3, 0), (2, 0, 2), (0, 0, 0)])
def test_hybrid_of_nothing(rows, depth, columns):
    """LiteRT runs these with asymmetric inputs; with symmetric ones it dies of rows without elements."""
    left, right = np.zeros((rows, depth), np.float32), np.ones((depth, columns), np.int8)
    options = {"w": (1.0, 0), "constant": True}
    y = run(left, right, DType.FLOAT32, asymmetric_quantize_inputs=True, **options)
    assert y == np.zeros((rows, columns)).tolist()
    if depth or not rows:
        assert run(left, right, DType.FLOAT32, **options) == y
    else:
        with pytest.raises(ModelError, match="rows with elements"):
            run(left, right, DType.FLOAT32, **options)


ONE, WIDE, REAL = np.ones((1, 1), np.int8), np.ones((1, 1), np.int16), np.ones((1, 1), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((ONE, np.ones((2, 1), np.int8)), {}, ModelError, "matching depth"),
        ((ONE, np.ones((1, 2), np.int8)), {"adj_y": True}, ModelError, "matching depth"),
        ((np.ones((2, 1, 1), np.int8), np.ones((3, 1, 1), np.int8)), {}, ModelError, "leading dimensions"),
        ((np.ones(1, np.int8), ONE), {}, ModelError, "2 to 5 dimensions"),
        ((np.ones((1,) * 6, np.int8), ONE), {}, ModelError, "2 to 5 dimensions"),
        ((WIDE, ONE, DType.INT16), {"x": (0.5, 1)}, ModelError, "zero points 0"),
        ((ONE, WIDE), {}, UnsupportedError, "covered: int8 x int8"),
        ((REAL, WIDE, DType.FLOAT32), {}, UnsupportedError, "covered: int8 x int8"),
    ],
)
def test_broken_contracts_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        prepare_op(build(*arguments, **options))


def test_integers_quantized_per_axis_are_refused():
    right = np.ones((1, 2), np.int8)
    with pytest.raises(UnsupportedError, match="quantized per axis"):
        prepare_op(build(ONE, right, w=([0.5, 0.25], [0, 0]), axis=1, constant=True))
    with pytest.raises(ModelError, match="2 scales along axis 1"):
        prepare_op(build(REAL, right, DType.FLOAT32, w=([0.5, 0.25, 1], [0, 0, 0]), axis=1, constant=True))


def test_sums_that_the_runtime_does_not_compute_are_refused():
    left, right = np.ones((4, 1, 2, 1, 1), np.float32), np.ones((4, 1, 2, 1, 1), np.int8)
    model = build(left, right, DType.FLOAT32, asymmetric_quantize_inputs=True)
    with pytest.raises(UnsupportedError, match="unset memory"):
        prepare_op(model)
