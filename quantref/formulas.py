"""The rules of stages (see :mod:`qmath.stages`) as formulas: computed exactly, printed with numbers, watched at ends.

This is a pocket calculator on fractions. It shares nothing with the kernels, so a rule that it confirms is what the
kernel did.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TypeAlias

from qmath.errors import SpecError

#: What a term or a result is: exact.
Number: TypeAlias = Fraction

#: Exponents and shifts beyond this are refused, so that no rule can ask for endless digits.
MAX_EXPONENT = 4096
#: How far an approximate rule may be off: relative to the result, and in units of an integer stage; 16-bit functions in
#: fixed point are up to 12 off.
APPROXIMATE = Fraction(1, 1000), 12


class IncalculableError(SpecError):
    """A formula has no exact value: a term is infinite or not a number, or a result leaves a float type."""


# --- The functions of the language --------------------------------------------------------------------------------


def half_up(x: Number) -> Number:
    """Round to an integer, ties up."""
    return Fraction(math.floor(x + Fraction(1, 2)))


def half_away(x: Number) -> Number:
    """Round to an integer, ties away from zero."""
    return half_up(x) if x >= 0 else -half_up(-x)


def half_even(x: Number) -> Number:
    """Round to an integer, ties to the even one."""
    return Fraction(round(x))


def toward_zero(x: Number) -> Number:
    """Drop the fraction."""
    return Fraction(math.trunc(x))


def floor(x: Number) -> Number:
    """Round down."""
    return Fraction(math.floor(x))


def clamp(x: Number, low: Number, high: Number) -> Number:
    """Move into a range; where the ends cross, the upper wins, as it does in the kernels."""
    return min(max(x, low), high)


def wrap(x: Number, bits: Number = Fraction(32)) -> Number:
    """Keep the lowest bits of an integer, as a signed word."""
    span = 1 << int(bits)
    return Fraction((int(x) + span // 2) % span - span // 2)


def float32(x: Number) -> Number:
    """Round to the nearest float32, ties to the even one."""
    return _to_float(x, 24, -126, 128)


def float64(x: Number) -> Number:
    """Round to the nearest float64, ties to the even one."""
    return _to_float(x, 53, -1022, 1024)


def floor_log2(x: Number) -> Number:
    """Return the largest integer ``n`` with ``2**n <= x``."""
    if x <= 0:
        raise IncalculableError(f"no logarithm of {float(x):g}")
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    return Fraction(exponent - (x < Fraction(2) ** exponent))


def _to_float(x: Number, precision: int, lowest: int, above: int) -> Number:
    if x == 0:
        return x
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    exponent -= abs(x) < Fraction(2) ** exponent
    unit = Fraction(2) ** (max(exponent, lowest) - precision + 1)
    rounded = half_even(x / unit) * unit
    if abs(rounded) >= Fraction(2) ** above:
        raise IncalculableError("the result is too large for its float type")
    return rounded


def _real(function: Callable[[float], float]) -> Callable[[Number], Number]:
    def computed(x: Number) -> Number:
        try:
            return exact(function(float(x)))
        except (ValueError, OverflowError) as error:
            raise IncalculableError(f"no finite value at {float(x):g}") from error

    return computed


FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "half_up": half_up,
    "half_away": half_away,
    "half_even": half_even,
    "toward_zero": toward_zero,
    "floor": floor,
    "clamp": clamp,
    "wrap": wrap,
    "float32": float32,
    "float64": float64,
    "floor_log2": floor_log2,
    "abs": abs,
    "min": min,
    "max": max,
    "sqrt": _real(math.sqrt),
    "exp": _real(math.exp),
    "log": _real(math.log),
    "tanh": _real(math.tanh),
    "erf": _real(math.erf),
}


def exact(value: float) -> Number:
    """Return a number as a fraction.

    Raises
    ------
    IncalculableError
        It is infinite or not a number.

    """
    if isinstance(value, float) and not math.isfinite(value):
        raise IncalculableError(f"{value} is no number to calculate with")
    return Fraction(value)


# --- Formulas -----------------------------------------------------------------------------------------------------


def _power(base: Number, exponent: Number) -> Number:
    if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT:
        raise IncalculableError(f"an exponent of {exponent}")
    return Fraction(base**exponent.numerator)


def _bits(operation: Callable[[int, int], int]) -> Callable[[Number, Number], Number]:
    return lambda a, b: Fraction(operation(int(a), int(b)))


_OPERATORS: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: lambda a, b: a % b,
    ast.Pow: _power,
    ast.LShift: lambda a, b: a * _power(Fraction(2), b),
    ast.RShift: lambda a, b: floor(a / _power(Fraction(2), b)),
    ast.BitAnd: _bits(lambda a, b: a & b),
    ast.BitOr: _bits(lambda a, b: a | b),
    ast.BitXor: _bits(lambda a, b: a ^ b),
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Number, Number], bool]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}


@dataclass(frozen=True)
class Formula:
    """A rule, parsed.

    Attributes
    ----------
    text
        As it was written.
    tree
        Its expression.
    approximate
        Whether it was marked by a leading ``~``: the kernel approximates it.

    """

    text: str
    tree: ast.expr
    approximate: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The terms that it names, in order."""
        called = {node.func for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        named = (node for node in ast.walk(self.tree) if isinstance(node, ast.Name) and node not in called)
        return tuple(dict.fromkeys(node.id for node in named))

    def value(self, terms: Mapping[str, Number]) -> Number:
        """Compute the formula exactly.

        Raises
        ------
        IncalculableError
            It has no exact value for these terms.
        SpecError
            A name is unknown, or the formula is none of the language.

        """
        try:
            return _value(self.tree, terms)
        except ZeroDivisionError as error:
            raise IncalculableError("a division by zero") from error

    def gives(self, value: Number, terms: Mapping[str, Number]) -> bool:
        """Whether the formula gives ``value``; nearly, if it is approximate."""
        found = self.value(terms)
        if self.approximate:
            relative, units = APPROXIMATE
            return abs(found - value) <= relative * abs(value) + (units if value.denominator == 1 else 0)
        return found == value

    def with_numbers(self, terms: Mapping[str, Number]) -> str:
        """Return the formula with numbers in place of names, such as ``half_up(585 * 1527099305 / 2**31)``."""
        substituted = _Numbers(terms).visit(ast.parse(self.text.lstrip("~ "), mode="eval").body)
        return ast.unparse(substituted).replace(" ** ", "**")


@cache
def parse(rule: str) -> Formula:
    """Parse a rule.

    Raises
    ------
    SpecError
        It is not of the language.

    """
    text = rule.lstrip("~ ")
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise SpecError(f"expected a formula, found {rule!r}") from error
    return Formula(rule, tree, rule.startswith("~"))


def calculate(text: str) -> Number:
    """Compute a formula that has numbers alone, as a reader with a pocket calculator would.

    Raises
    ------
    IncalculableError, SpecError
        See :meth:`Formula.value`.

    """
    return parse(text).value({})


def literal(value: Number) -> str:
    """Return a number as text: an integer, the shortest decimal that is this float64, or a fraction."""
    if value.denominator == 1 and abs(value) < Fraction(10) ** 21:
        return str(value.numerator)
    try:
        if Fraction(float(value)) == value:
            return repr(float(value))
    except OverflowError:
        pass
    return f"{value.numerator} / {value.denominator}"


def plain_number(value: Number) -> int | float:
    """Return a number as Python has it: an integer, or the nearest float64."""
    return value.numerator if value.denominator == 1 else float(value)


def _value(node: ast.expr, terms: Mapping[str, Number]) -> Number:  # noqa: PLR0911 - one line a kind of node
    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return Fraction(number)
        case ast.Name(id=name) if name in terms:
            return terms[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, terms)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return _OPERATORS[type(operator)](_value(left, terms), _value(right, terms))
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _COMPARISONS:
            return Fraction(_COMPARISONS[type(operator)](_value(left, terms), _value(right, terms)))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, terms) else other, terms)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(argument, terms) for argument in arguments))
    raise SpecError(f"expected a formula of numbers, names and known functions, found {ast.unparse(node)!r}")


class _Numbers(ast.NodeTransformer):
    """Replaces names of terms by their numbers."""

    def __init__(self, terms: Mapping[str, Number]) -> None:
        self._terms = terms

    def visit_Call(self, node: ast.Call) -> ast.expr:
        node.args = [self.visit(argument) for argument in node.args]
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        """Write the opposite of a negative number as a positive one."""
        match node.op, self.visit(node.operand):
            case ast.USub(), ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as number):
                return number
            case operator, operand:
                return ast.UnaryOp(operator, operand)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self._terms:
            return node
        return ast.parse(literal(self._terms[node.id]), mode="eval").body
