"""The C library's float32 functions against float64 ones."""

from __future__ import annotations

import numpy as np

from kernels.engine import libm

CODES = np.arange(-32768, 32768)


def test_tanh_is_within_three_units_in_the_last_place():
    for log2_scale in (-12, -15, -20):
        x = CODES.astype(np.float32) * np.float32(2.0**log2_scale)
        exact = np.tanh(x.astype(np.float64))
        units = np.abs(libm.tanh(x) - exact) / np.spacing(np.abs(exact).astype(np.float32))
        assert units.max() < 3


def test_tanh_is_odd_and_ends_at_one():
    x = CODES.astype(np.float32) * np.float32(2.0**-12)
    assert np.array_equal(libm.tanh(-x), -libm.tanh(x))
    assert libm.tanh(np.array([0, 8], np.float32)).tolist() == [0, np.float32(np.tanh(8.0))]


def test_tanh_rounds_as_fdlibm_does():
    # What glibc 2.36 gives; the nearest float32 number is the next one, up or down.
    found = libm.tanh(np.array([5, 7, 8, 10, 11, 15], np.float32) / 1024)
    expected = [1000341420, 1004535580, 1006632618, 1008729778, 1009778245, 1013971868]
    assert found.view(np.uint32).tolist() == expected


def test_tanh_of_any_number():
    x = np.array([0, -0.0, 1e-40, -1e-8, 2.0**-27, 9.5, 30, -np.inf, np.nan], np.float32)
    found = libm.tanh_of_any(x)
    assert np.array_equal(np.signbit(found), np.signbit(x))
    assert found[:5].tolist() == x[:5].tolist()
    assert found[5:8].tolist() == [1, 1, -1]
    assert np.isnan(found[8])
