"""Samples drawn from a seed, or cut from arrays."""

from __future__ import annotations

import numpy as np
import pytest

import fbs
from qmath.errors import InputError, ModelError, UnsupportedError
from qmath.types import DType
from quantref.samples import random_samples, samples_from
from tests.quantref.small_models import float_layer, two_layers


def _with_input(dtype: DType, shape: tuple[int, ...] = (1, 1000), **quantization: float) -> fbs.Model:
    builder = fbs.Builder()
    x = builder.input("x", dtype, shape, **quantization)
    return builder.finish([x])


def test_the_seed_decides_and_the_count_does_not_matter() -> None:
    model = two_layers()
    many, few, other = random_samples(model, 5, 1), random_samples(model, 2, 1), random_samples(model, 2, 2)
    assert np.array_equal(many[1][0], few[1][0])
    assert not np.array_equal(many[0][0], many[1][0])
    assert not np.array_equal(few[1][0], other[1][0])


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8, DType.INT4])
def test_codes_come_from_the_whole_range(dtype: DType) -> None:
    ((codes,),) = random_samples(_with_input(dtype, (1, 5000), scale=0.1), 1)
    assert codes.dtype == dtype.storage
    assert (codes.min(), codes.max()) == (dtype.min, dtype.max)


def test_integers_without_quantization_are_small() -> None:
    ((indices,),) = random_samples(_with_input(DType.INT32), 1)
    assert (indices.min(), indices.max()) == (0, 7)


def test_floats_and_booleans() -> None:
    ((normal,),) = random_samples(_with_input(DType.FLOAT32), 1)
    assert normal.dtype == np.float32
    assert 0.8 < normal.std() < 1.2
    ((truth,),) = random_samples(_with_input(DType.BOOL), 1)
    assert set(truth.ravel()) == {True, False}
    with pytest.raises(UnsupportedError, match="STRING"):
        random_samples(_with_input(DType.STRING), 1)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT32, DType.FLOAT32, DType.BOOL])
def test_an_input_beyond_all_memory_is_refused_by_name(dtype: DType) -> None:
    with pytest.raises(UnsupportedError, match=r"input 0 .'x'.*not enough memory"):
        random_samples(_with_input(dtype, (2**24, 2**24)), 1)
    with pytest.raises(ModelError, match=r"input 0 .'x'.*cannot be run"):
        random_samples(_with_input(dtype, (2**30, 2**30, 2**30)), 1)


def test_floats_that_are_quantized_reach_the_whole_range_and_beyond() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1, 5000))
    y = builder.tensor("y", DType.INT8, (1, 5000), scale=0.5, zero_point=28)
    builder.op("QUANTIZE", [x], [y])
    ((values,),) = random_samples(builder.finish([y]), 1)
    assert -90 < values.min() < -78  # 0.5 * (-128 - 28), and a twentieth of the range more
    assert 49.5 < values.max() < 60


@pytest.mark.parametrize(("shape", "count"), [((1, 4), 1), ((6, 4), 6), ((6, 1, 4), 6), ((0, 4), 0)])
def test_arrays_are_cut_along_axis_0(shape: tuple[int, ...], count: int) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(np.int8)
    samples = samples_from(two_layers(), {"x": array})
    assert len(samples) == count
    assert all(sample.shape == (1, 4) for (sample,) in samples)
    assert b"".join(sample.tobytes() for (sample,) in samples) == array.tobytes()


@pytest.mark.parametrize("key", ["x", "0:x", "features"])
def test_inputs_go_by_several_names(key: str) -> None:
    assert samples_from(two_layers(), {key: np.zeros((1, 4), np.int8)})


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_integers_of_another_type_are_taken_if_they_fit(dtype: type) -> None:
    ((codes,),) = samples_from(two_layers(), {"x": np.full((1, 4), 100, dtype)})
    assert codes.dtype == np.int8
    with pytest.raises(InputError, match="expected int8"):
        samples_from(two_layers(), {"x": np.full((1, 4), 200, dtype)})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected an array for each input"),
        ({"x": np.zeros((1, 4), np.float32)}, "expected int8, found float32"),
        ({"x": np.zeros((3, 5), np.int8)}, r"expected shape \[1, 4\]"),
        ({"x": np.zeros((1, 4), np.int8), "z": np.zeros(1)}, "found 'z'"),
    ],
)
def test_arrays_that_do_not_fit(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        samples_from(two_layers(), arrays)


def test_inputs_must_agree_on_the_number_of_samples() -> None:
    builder = fbs.Builder()
    a, b = (builder.input(name, DType.INT8, (1, 2)) for name in "ab")
    model = builder.finish([a, b])
    arrays = {"a": np.zeros((3, 2), np.int8), "b": np.zeros((2, 2), np.int8)}
    with pytest.raises(InputError, match="same number of samples"):
        samples_from(model, arrays)


def test_two_arrays_for_one_input_are_refused():
    arrays = {"x": np.zeros((1, 4), np.int8), "0:x": np.ones((1, 4), np.int8)}
    with pytest.raises(InputError, match="expected one array for each input, found 'x' and '0:x' for one"):
        samples_from(two_layers(), arrays)


def test_lists_are_arrays():
    model = float_layer()
    assert samples_from(model, {"x": [[0.5] * 64]})[0][0].dtype == np.float32


def test_a_model_without_inputs_has_one_sample():
    builder = fbs.Builder()
    y = builder.tensor("y", DType.INT8, (2,), scale=0.5)
    builder.op("RELU", [builder.constant("c", np.array([-1, 3], np.int8), scale=0.5)], [y])
    model = builder.finish([y])
    assert samples_from(model, {}) == [[]]
    assert random_samples(model, 2) == [[], []]


@pytest.mark.parametrize(("count", "seed"), [(-1, 0), (2.5, 0), (1, -1), (1, 1.5), (1, None)])
def test_counts_and_seeds_are_whole_numbers(count, seed):
    with pytest.raises(InputError, match="whole number and not negative"):
        random_samples(two_layers(), count, seed)
