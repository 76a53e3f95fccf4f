"""Elements to bytes and back, against the plain definition of packing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbs import constants
from fbs.model import Buffer, Tensor
from qmath.errors import InputError, ModelError
from qmath.types import DType

PACKED = [DType.INT4, DType.UINT4, DType.INT2]


@given(st.sampled_from(PACKED), st.data())
def test_packed_elements_lie_lowest_bits_first(dtype: DType, data: st.DataObject) -> None:
    codes = data.draw(st.lists(st.integers(dtype.min, dtype.max), max_size=9))
    packed = sum((code % (1 << dtype.bits)) << (dtype.bits * place) for place, code in enumerate(codes))
    raw = constants.encode(np.array(codes, int), dtype)
    assert bytes(raw) == packed.to_bytes(-(-len(codes) * dtype.bits // 8), "little")
    assert constants.decode(raw, dtype, (len(codes),)).tolist() == codes


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype not in constants.OPAQUE])
def test_every_type_survives(dtype: DType) -> None:
    values = np.array([[0, 1, 0], [1, 0, 1]]).astype(dtype.storage)
    tensor = Tensor("t", dtype, (2, 3), Buffer.of(values, dtype))
    assert tensor.data is not None
    assert tensor.data.dtype == dtype.storage
    assert np.array_equal(tensor.data, values)


def test_scalars_and_empty_tensors() -> None:
    assert Tensor("t", DType.INT32, (), Buffer.of(7, DType.INT32)).data == 7
    empty = Tensor("t", DType.INT32, (0,), Buffer(b"")).data
    assert empty is not None
    assert empty.shape == (0,)


def test_activations_have_no_data() -> None:
    assert Tensor("t", DType.INT8, (4,)).data is None
    assert Tensor("t", DType.INT8, (4,), Buffer(b"")).data is None


def test_buffers_do_not_change_with_the_array_they_came_from() -> None:
    array = np.arange(6, dtype=np.int8).reshape(2, 3)
    buffer, turned = Buffer.of(array, DType.INT8), Buffer(array.T)
    array[:] = 0
    assert bytes(buffer.data) == bytes(range(6))
    assert bytes(turned.data) == bytes([0, 3, 1, 4, 2, 5])


def test_strings_stay_bytes() -> None:
    assert bytes(Tensor("t", DType.STRING, (1,), Buffer(b"raw")).data) == b"raw"


@pytest.mark.parametrize("shape", [(5,), (-1,), (1 << 31, 1 << 31, 4), (0, 1 << 31, 1 << 31, 4), (1,) * 40])
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="expected"):
        _ = Tensor("t", DType.INT8, shape, Buffer(b"four")).data


@pytest.mark.parametrize(
    ("values", "dtype"), [([8], DType.INT4), ([-1], DType.UINT4), ([128], DType.INT8), ([0.5], DType.INT8)]
)
def test_values_that_do_not_fit(values: list[float], dtype: DType) -> None:
    with pytest.raises(InputError, match=f"for {dtype.name}"):
        constants.encode(values, dtype)
