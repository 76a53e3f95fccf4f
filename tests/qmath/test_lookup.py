"""Tables against scalar oracles: every entry, and every code of 8 and 16 bits looked up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qmath import lookup
from qmath.errors import InputError, SpecError
from qmath.types import DType, QuantParams
from tests.oracles import tables

INT16 = np.arange(-(2**15), 2**15).astype(np.int16)
FUNCTIONS = [
    pytest.param(np.exp, math.exp, id="exp"),
    pytest.param(np.tanh, math.tanh, id="tanh"),
    pytest.param(np.square, lambda x: x * x, id="square"),
]
#: Scale and zero point of input and output; powers of two make ties.
MAPS = [((0.03, -7), (0.021, 5)), ((2.0**-4, 0), (2.0**-3, 1)), ((0.5, 100), (2.0**-6, -128))]


def params_of(scale, zero_point, dtype):
    return QuantParams(np.array([scale], np.float32), np.array([zero_point]), dtype)


@pytest.mark.parametrize(("function", "scalar"), FUNCTIONS)
@pytest.mark.parametrize(("source", "target"), MAPS)
def test_code_tables_equal_the_oracle(function, scalar, source, target):
    pairs = ((lookup.code_table, tables.code_entry), (lookup.code_table_half_even, tables.code_entry_half_even))
    s, t = params_of(*source, DType.INT8), params_of(*target, DType.INT8)
    maps = [(float(p.scale[0]), int(p.zero_point[0])) for p in (s, t)]
    for make, entry in pairs:
        table = make(function, s, t)
        assert table.dtype == np.int8
        expected = [max(-128, min(127, entry(scalar, code, *maps))) for code in range(-128, 128)]
        assert table[np.arange(-128, 128, dtype=np.int8)].tolist() == expected


def test_code_tables_of_uint8_are_those_of_int8_moved_by_128():
    signed = lookup.code_table(np.tanh, params_of(0.05, -3, DType.INT8), params_of(1 / 128, 0, DType.INT8))
    unsigned = lookup.code_table(np.tanh, params_of(0.05, 125, DType.UINT8), params_of(1 / 128, 128, DType.UINT8))
    codes = np.arange(256)
    assert unsigned.dtype == np.uint8
    assert np.array_equal(unsigned[codes], signed[codes - 128].astype(np.int16) + 128)


def test_values_beyond_int32_clamp():
    source, target = params_of(10, 0, DType.INT8), params_of(1e-3, 0, DType.INT8)
    for table in (lookup.code_table(np.exp, source, target), lookup.code_table_half_even(np.exp, source, target)):
        assert table[[127, 50, 1, 0]].tolist() == [127, 127, 127, 127]
        assert table[-128] == 0


@pytest.mark.parametrize(("precision", "bits"), [(np.float32, 24), (np.float64, 53)])
@pytest.mark.parametrize(("function", "scalar"), FUNCTIONS)
def test_interpolation_tables_equal_the_oracle(function, scalar, precision, bits):
    source, target = (2e-4, 1000), (6e-4, -2000)
    table = lookup.interpolation_table(function, lookup.AffineMap(*source), lookup.AffineMap(*target), precision)
    assert table.dtype == np.int16
    assert table.tolist() == tables.interpolation_entries(scalar, source, target, bits)


def test_interpolation_on_all_codes():
    rng = np.random.default_rng(0)
    smooth = lookup.interpolation_table(np.tanh, lookup.AffineMap(1e-4, 0), lookup.AffineMap(2.0**-15, 0))
    rough = rng.integers(-(2**15), 2**15, 513).astype(np.int16)
    for table in (smooth, rough):
        found = lookup.interpolate(INT16, table)
        assert found.dtype == np.int16
        assert found.tolist() == [tables.interpolate(int(code), table.tolist()) for code in INT16]


def test_interpolation_is_near_the_function():
    table = lookup.interpolation_table(np.tanh, lookup.AffineMap(1e-4, 0), lookup.AffineMap(2.0**-15, 0))
    assert np.abs(lookup.interpolate(INT16, table) / 2.0**15 - np.tanh(INT16 * 1e-4)).max() < 2.0**-13


def test_sigmoid_table_is_the_known_one():
    table = lookup.sigmoid_table()
    assert table[[0, 1, 2, 3, 100, 200, 252, 253, 254, 255]].tolist() == [
        *(32768, 33451, 34133, 34813),
        *(64536, 65520, 65534, 65534, 65534, 65535),
    ]
    assert table.sum() == 15_670_629


@pytest.mark.parametrize(("multiplier", "right_shift"), [(3, 0), (6, 0), (24576, 13), (20000, 14), (32767, 31), (1, 0)])
def test_int16_logistic_and_tanh_on_all_codes(multiplier, right_shift):
    table = lookup.sigmoid_table().tolist()
    for function, oracle in ((lookup.logistic_int16, tables.logistic_int16), (lookup.tanh_int16, tables.tanh_int16)):
        found = function(INT16, multiplier, right_shift)
        assert found.dtype == np.int16
        assert found.tolist() == [oracle(int(code), multiplier, right_shift, table) for code in INT16]


def test_int16_logistic_and_tanh_are_near_the_real_ones():
    real = INT16 / 2.0**12
    assert np.abs(lookup.logistic_int16(INT16, 3, 0) / 2.0**15 - 1 / (1 + np.exp(-real))).max() < 2.0**-14
    assert np.abs(lookup.tanh_int16(INT16, 3, 0) / 2.0**15 - np.tanh(real)).max() < 2.0**-13


def test_what_has_no_table_is_named():
    int8, int16 = QuantParams([0.1], [0], DType.INT8), QuantParams([0.1], [0], DType.INT16)
    per_axis = QuantParams([0.1, 0.2], [0, 0], DType.INT8)
    for source, target in ((int16, int8), (int8, int16), (per_axis, int8), (int8, per_axis)):
        for tabulate in (lookup.code_table, lookup.code_table_half_even):
            with pytest.raises(SpecError, match="per-tensor parameters of INT8 or UINT8"):
                tabulate(np.tanh, source, target)
    with pytest.raises(InputError, match=r"expected a function that gives \(256,\) for \(256,\), found \(3,\)"):
        lookup.code_table(lambda x: x[:3], int8, int8)


def test_codes_and_tables_of_another_size_are_named():
    table = np.zeros(513, np.int16)
    with pytest.raises(InputError, match="expected a table of 513 entries"):
        lookup.interpolate([0], table[:512])
    for code in (-32769, 32768):
        with pytest.raises(InputError, match=f"expected codes from -32768 to 32767, found 0 to {code}|{code} to 0"):
            lookup.interpolate([0, code], table)
