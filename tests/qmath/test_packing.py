"""Packing there and back, against bytes written out by hand and by Python's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmath.errors import InputError
from qmath.packing import pack, packed_size, unpack
from qmath.types import DType

SUB_BYTE = [DType.INT4, DType.UINT4, DType.INT2]


def test_low_bits_come_first():
    assert pack([1, -2, 3], DType.INT4).tolist() == [0xE1, 0x03]
    assert pack([1, 14, 3], DType.UINT4).tolist() == [0xE1, 0x03]
    assert pack([1, -2, 0, -1, 1], DType.INT2).tolist() == [0b11_00_10_01, 0b01]


@pytest.mark.parametrize("dtype", SUB_BYTE, ids=lambda dtype: dtype.name)
def test_every_byte_unpacks_to_its_codes(dtype):
    bits, per_byte = dtype.bits, 8 // dtype.bits
    expected = [byte >> bits * i & (2**bits - 1) for byte in range(256) for i in range(per_byte)]
    if dtype.min < 0:
        expected = [code - 2**bits if code > dtype.max else code for code in expected]
    codes = unpack(np.arange(256, dtype=np.uint8), dtype, 256 * per_byte)
    assert codes.tolist() == expected
    assert codes.dtype == dtype.storage
    assert pack(codes, dtype).tolist() == list(range(256))


@given(st.sampled_from(SUB_BYTE), st.data())
def test_any_count_survives_the_way_there_and_back(dtype, data):
    codes = data.draw(st.lists(st.integers(dtype.min, dtype.max), max_size=20))
    packed = pack(np.array(codes, np.int8), dtype)
    assert packed.size == packed_size(len(codes), dtype) == -(-len(codes) * dtype.bits // 8)
    assert unpack(packed, dtype, len(codes)).tolist() == codes


def test_order_is_that_of_c():
    codes = np.arange(-6, 6).reshape(2, 2, 3).transpose(2, 0, 1)
    assert unpack(pack(codes, DType.INT4), DType.INT4, 12).tolist() == codes.ravel().tolist()


def test_errors_say_what_does_not_fit():
    with pytest.raises(InputError, match=r"from -8 to 7, found -9 to 8"):
        pack([8, -9], DType.INT4)
    with pytest.raises(InputError, match="expected 2 bytes for 3 elements"):
        unpack(np.zeros(1, np.uint8), DType.INT4, 3)
    with pytest.raises(InputError, match="smaller than a byte"):
        pack([1], DType.INT8)


def test_packed_elements_come_as_bytes():
    for packed in ([0x21, 0x43], np.array([0x21], ">i4"), np.array([1.0])):
        with pytest.raises(InputError, match=r"expected packed elements as bytes \(uint8\), found"):
            unpack(packed, DType.INT4, 1)
    assert unpack(np.array([0x21], np.int8), DType.INT4, 2).tolist() == [1, 2]
    assert unpack(np.array([0x21, 0, 0x43, 0], np.uint8)[::2], DType.INT4, 4).tolist() == [1, 2, 3, 4]
    for count in (-1, -7):
        with pytest.raises(InputError, match=f"expected a number of elements, found {count}"):
            unpack(np.array([1], np.uint8), DType.INT4, count)
