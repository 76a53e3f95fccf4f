"""Numbers of the wrong kind are named, and numbers of the right kind are taken however they come."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qmath import affine, constants, fake_quant, lookup, multiplier, packing, scheme
from qmath.arguments import as_int64, as_real, as_whole, finite_float32
from qmath.calibration import OBSERVERS, observer_named
from qmath.errors import InputError, SpecError
from qmath.moving_average import TrackedRange, move_average
from qmath.types import ActivationRange, DType, QuantParams

PARAMS = QuantParams([0.5], [3], DType.INT8)
NO_NUMBERS = [["a"], [1j], [object()], None, np.array(["2020"], "M8[s]")]


@pytest.mark.parametrize("given", [3, [3], (3,), np.array([3], ">i2"), np.arange(9)[3::-5], np.uint32(3)])
def test_integers_of_every_form(given: Any) -> None:
    found = as_int64(given)
    assert found.dtype == np.int64
    assert found.ravel().tolist() == [3]
    assert found.shape == np.shape(given)
    assert np.array_equal(as_real(given, np.float32), found)


@pytest.mark.parametrize("given", [[], np.empty((0, 3)), np.empty((2, 0), np.int8)])
def test_no_elements_are_fine_of_any_kind(given: Any) -> None:
    shape = np.shape(given)
    assert as_int64(given).shape == shape
    assert affine.quantize(given, PARAMS).shape == shape
    assert affine.dequantize(given, PARAMS).shape == shape
    assert packing.pack(given, DType.INT4).shape == (0,)
    assert lookup.interpolate(given, np.zeros(513, np.int16)).shape == shape
    assert multiplier.quantize_multiplier(given).multiplier.shape == shape
    assert constants.quantize_constant(given, PARAMS).shape == shape


@pytest.mark.parametrize("given", [[1.5], *NO_NUMBERS, [1 << 70], np.array([1], np.uint64), [[1], [1, 2]]])
def test_other_than_integers_is_named(given: Any) -> None:
    for take in (as_int64, lambda x: affine.dequantize(x, PARAMS), lambda x: packing.pack(x, DType.INT4)):
        with pytest.raises(InputError, match=r"expected (integers that fit int64|an array of numbers), found"):
            take(given)


@pytest.mark.parametrize("given", [*NO_NUMBERS, [[1], [1, 2]]])
@pytest.mark.parametrize(
    "take",
    [
        lambda x: affine.quantize(x, PARAMS),
        lambda x: scheme.asymmetric_params(x, x),
        lambda x: scheme.nudged_params(x, x),
        scheme.weight_params,
        lambda x: constants.quantize_bias(x, PARAMS),
        multiplier.quantize_multiplier,
        lambda x: multiplier.scale_ratio(x, 1.0, 1.0),
        lambda x: QuantParams(x, [0], DType.INT8),
    ],
)
def test_other_than_real_numbers_is_named(take: Callable[[Any], Any], given: Any) -> None:
    with pytest.raises(InputError, match=r"expected (real numbers|an array of numbers), found"):
        take(given)


def test_beyond_float32_is_infinite_without_a_warning() -> None:
    assert as_real([1e300, -1e300], np.float32).tolist() == [np.inf, -np.inf]
    assert as_real([1e-300], np.float32).tolist() == [0.0]
    with pytest.raises(InputError, match=r"expected finite weights to quantize, found 1e\+300"):
        finite_float32([1.0, 1e300], "weights")
    with pytest.raises(InputError, match=r"expected finite real values to quantize, found -1e\+300"):
        affine.quantize([-1e300], PARAMS)
    assert affine.dequantize([127], QuantParams([3e38], [0], DType.INT8)).tolist() == [np.inf]
    assert multiplier.scale_ratio([1.0], [1.0], [0.0]).tolist() == [np.inf]
    assert multiplier.scale_ratio([1e30], [1e30], [1.0], float32_product=True).tolist() == [np.inf]
    with pytest.raises(SpecError, match="whose scale is a float32"):
        scheme.bias_params(QuantParams([1e30], [0], DType.INT8), QuantParams([1e30], [0], DType.INT8))


def test_whole_numbers_may_be_floats() -> None:
    assert as_whole([-3.0, 2.0**62]).tolist() == [-3, 1 << 62]
    assert QuantParams([1.0], np.zeros(1), DType.INT8).zero_point.tolist() == [0]
    for given in (0.5, np.nan, np.inf, 2.0**63, -(2.0**64)):
        with pytest.raises(InputError, match="expected whole numbers that fit int64, found"):
            QuantParams([1.0], [given], DType.INT8)


def test_types_without_codes_are_named() -> None:
    for ask in (lambda: DType.FLOAT32.min, lambda: DType.BOOL.max, lambda: ActivationRange.of(DType.FLOAT16)):
        with pytest.raises(SpecError, match="expected an integer type for quantized values, found"):
            ask()
    for dtype in (DType.INT64, DType.UINT64):
        with pytest.raises(SpecError, match=f"expected codes of at most 32 bits, found {dtype.name}"):
            affine.quantize([1e30], QuantParams([1.0], [0], dtype))


def test_copies_of_parameters_are_read_only() -> None:
    for twin in (pickle.loads(pickle.dumps(PARAMS)), copy.deepcopy(PARAMS)):  # noqa: S301 (made a moment ago)
        assert twin == PARAMS
        assert not twin.scale.flags.writeable
        assert not twin.zero_point.flags.writeable


@pytest.mark.parametrize("name", OBSERVERS)
def test_observers_take_numbers_of_every_form(name: str) -> None:
    observer = observer_named(name)
    expected = observer.extent(observer.summarize(np.array([1, -3, 2], np.float32)))
    for given in ([1.0, -3, 2], np.array([1, -3, 2], np.int8), np.array([1, -3, 2], ">f8"), np.array([[2], [-3], [1]])):
        assert observer.extent(observer.summarize(given)) == expected
    assert observer.summarize([]) is None
    assert observer.summarize([np.nan]) is None
    for other in NO_NUMBERS:
        with pytest.raises(InputError, match="expected real numbers, found"):
            observer.summarize(other)


@pytest.mark.parametrize("other", NO_NUMBERS)
def test_training_takes_real_numbers(other: Any) -> None:
    for take in (fake_quant.fake_quant_args, lambda x: move_average(x, 1.0), TrackedRange().moved):
        with pytest.raises(InputError, match="expected real numbers, found"):
            take(other)


def test_a_batch_of_nothing_has_no_range() -> None:
    with pytest.raises(InputError, match=r"expected a batch of real numbers, found shape \(0, 3\)"):
        TrackedRange().moved(np.empty((0, 3)))
