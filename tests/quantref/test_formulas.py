"""Rules as formulas: exact, printable, and of no other language."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmath.errors import SpecError
from quantref.formulas import IncalculableError, calculate, float32, float64, literal, parse
from tests.oracles.calculator import press


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("half_up(-5 / 2)", -2),
        ("half_away(-5 / 2)", -3),
        ("half_even(-5 / 2)", -2),
        ("toward_zero(-5 / 2)", -2),
        ("floor(-5 / 2)", -3),
        ("clamp(300, -128, 127)", 127),
        ("wrap(2**31)", -(2**31)),
        ("wrap(40000, 16)", 40000 - 65536),
        ("1 / 3", Fraction(1, 3)),
        ("5 if 3 >= 2 else 7", 5),
        ("-7 // 2 + 7 % 4", -1),
        ("float32(0.1)", Fraction(float(np.float32(0.1)))),
        ("max(1, min(5, abs(-3)))", 3),
    ],
)
def test_a_formula_is_calculated_exactly(text: str, value: Fraction) -> None:
    assert calculate(text) == value
    assert press(text) == value


def test_bits_of_integers() -> None:
    assert calculate("(6 & 3) + (6 | 1) + (6 ^ 3) + (1 << 4) - (33 >> 1)") == 2 + 7 + 5 + 16 - 16


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.fractions(max_denominator=10**12) | st.floats(allow_nan=False, allow_infinity=False).map(Fraction))
def test_floats_are_rounded_as_numpy_and_python_round_them(x: Fraction) -> None:
    assert float64(x) == Fraction(x.numerator / x.denominator)
    if float64(x) == x and abs(x) < Fraction(2) ** 127:
        assert float32(x) == Fraction(float(np.float32(float(x))))


def test_a_double_rounding_is_not_made() -> None:
    """Just above the middle of two float32; rounded to float64 first, it would be the middle, and then even."""
    x = 1 + Fraction(1, 2**24) + Fraction(1, 2**60)
    assert float32(x) == 1 + Fraction(1, 2**23)


def test_numbers_take_the_place_of_names() -> None:
    formula = parse("half_up(product * multiplier / 2**right) + abs(abs)")
    terms = {"product": Fraction(-585), "multiplier": Fraction(3, 2), "right": Fraction(6), "abs": Fraction(-1)}
    assert formula.with_numbers(terms) == "half_up(-585 * 1.5 / 2**6) + abs(-1)"
    assert formula.value(terms) == -13


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(7), "7"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(1, 3), "1 / 3"),
        (Fraction(float(np.float32(0.1))), "0.10000000149011612"),
    ],
)
def test_literals_are_exact(value: Fraction, text: str) -> None:
    assert literal(value) == text
    assert calculate(text) == value


def test_an_approximate_rule_holds_nearly() -> None:
    formula = parse("~ 32767 * exp(x)")
    assert formula.approximate
    assert formula.gives(Fraction(12054), {"x": Fraction(-1)})
    assert not formula.gives(Fraction(12154), {"x": Fraction(-1)})


@pytest.mark.parametrize("text", ["1 +", "open('x')", "x.y", "[1]", "half_up(x=1)", "'a'", "unknown + 1", "a < b < c"])
def test_other_languages_are_refused(text: str) -> None:
    with pytest.raises(SpecError):
        calculate(text)


@pytest.mark.parametrize("text", ["1 / 0", "2**100000", "log(0)", "float32(2.0**128)", "exp(1000)", "2**0.5"])
def test_what_has_no_exact_value_is_said(text: str) -> None:
    with pytest.raises(IncalculableError):
        calculate(text)
