"""A pocket calculator: computes the formulas that explanations print, on Python's fractions."""

from __future__ import annotations

import ast
import math
from fractions import Fraction
from typing import Any

from tests.oracles import rational


def _real(function: Any) -> Any:
    return lambda x: Fraction(function(float(x)))


def _wrap(x: Fraction, bits: Fraction = Fraction(32)) -> Fraction:
    assert x.denominator == 1
    return Fraction(rational.wrap(int(x), int(bits)))


def _floor_log2(x: Fraction) -> Fraction:
    found = math.floor(math.log2(x))
    while Fraction(2) ** (found + 1) <= x:
        found += 1
    while Fraction(2) ** found > x:
        found -= 1
    return Fraction(found)


def _float(precision: int, lowest: int) -> Any:
    def rounded(x: Fraction) -> Fraction:
        if abs(x) >= rational.power_of_two(lowest):
            return rational.to_float(Fraction(x), precision)
        unit = rational.power_of_two(lowest - precision + 1)
        return rational.half_even(Fraction(x) / unit) * unit

    return rounded


_KEYS: dict[str, Any] = {
    "half_up": rational.half_up,
    "half_away": rational.half_away,
    "half_even": rational.half_even,
    "toward_zero": rational.toward_zero,
    "floor": math.floor,
    "clamp": lambda x, low, high: min(max(x, low), high),
    "wrap": _wrap,
    "float32": _float(24, -126),
    "float64": _float(53, -1022),
    "floor_log2": _floor_log2,
    "abs": abs,
    "min": min,
    "max": max,
    **{name: _real(getattr(math, name)) for name in ("sqrt", "exp", "log", "tanh", "erf")},
}


class _Exact(ast.NodeTransformer):
    """Makes a fraction of every number: a decimal stands for the float64 that it names."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Call(ast.Name("Fraction", ast.Load()), [node], [])


def press(keys: str) -> Fraction:
    """Return what the calculator shows."""
    tree = ast.fix_missing_locations(_Exact().visit(ast.parse(keys, mode="eval")))
    shown = eval(compile(tree, keys, "eval"), {"__builtins__": {}, "Fraction": Fraction, **_KEYS})  # noqa: S307 - ours
    return Fraction(shown)
