"""The C library's float32 functions against float64 ones."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform

import numpy as np
import pytest

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


def words(x) -> list[int]:
    """Return the bits of float32 numbers."""
    return np.asarray(x, np.float32).view(np.uint32).tolist()


#: What glibc 2.36 gives for some numbers; beside all but the last two of each, the nearest float32 is another.
GLIBC = {
    libm.exp: [
        (-19.740800857543945, 0x31378D4C),
        (-0.15780000388622284, 0x3F5AA118),
        (19.533599853515625, 0x4D911CCB),
        (-87.5, 0x006CB2BC),
        (89.0, 0x7F800000),
    ],
    libm.expm1_of_negative: [
        (-3 / 64, 0xBD3B91CA),
        (-71 / 64, 0xBF2B9486),
        (-285 / 64, 0xBF7D0506),
        (-1e-9, 0xB089705F),
        (-30.0, 0xBF800000),
    ],
    libm.erfc: [
        (-99 / 64, 0x3FFC53A0),
        (74 / 64, 0x3DD0EAD2),
        (146 / 64, 0x3AA4704D),
        (221 / 64, 0x358BE962),
        (9.0, 0x030CC6A1),
        (-5.0, 0x40000000),
    ],
}


@pytest.mark.parametrize("function", GLIBC, ids=lambda function: function.__name__)
def test_functions_round_as_glibc_s(function):
    x, expected = zip(*GLIBC[function], strict=True)
    assert words(function(np.array(x, np.float32))) == list(expected)


@pytest.mark.parametrize("name", ["expf", "expm1f", "erfcf", "tanhf"])
def test_the_library_at_hand_gives_the_same(name):
    found = ctypes.util.find_library("m")
    if (
        platform.libc_ver()[0] != "glibc"
        or found is None
        or tuple(map(int, platform.libc_ver()[1].split("."))) > (2, 40)
    ):
        pytest.skip("a C library of another descent")
    theirs = getattr(ctypes.CDLL(found), name)
    theirs.restype, theirs.argtypes = ctypes.c_float, [ctypes.c_float]
    x = np.concatenate([np.linspace(-40, 40, 8001), np.geomspace(1e-12, 1, 500)]).astype(np.float32)
    x = -np.abs(x) if name == "expm1f" else np.concatenate([x, -x])
    ours = {"expf": libm.exp, "expm1f": libm.expm1_of_negative, "erfcf": libm.erfc, "tanhf": libm.tanh_of_any}[name]
    assert words(ours(x)) == words([theirs(number) for number in x.tolist()])


@pytest.mark.parametrize("function", [libm.exp, libm.erfc, libm.expm1_of_negative])
def test_ends_of_functions(function):
    low, nan = function(np.array([-np.inf, np.nan], np.float32))
    assert low == {libm.exp: 0, libm.erfc: 2, libm.expm1_of_negative: -1}[function]
    assert np.isnan(nan)
    assert libm.exp(np.array([np.inf], np.float32)).tolist() == [np.inf]
    assert libm.erfc(np.array([np.inf], np.float32)).tolist() == [0]


def test_tanh_of_any_number():
    x = np.array([0, -0.0, 1e-40, -1e-8, 2.0**-27, 9.5, 30, -np.inf, np.nan], np.float32)
    found = libm.tanh_of_any(x)
    assert np.array_equal(np.signbit(found), np.signbit(x))
    assert found[:5].tolist() == x[:5].tolist()
    assert found[5:8].tolist() == [1, 1, -1]
    assert np.isnan(found[8])
