"""Work that is laid out before it is done: calls on memory that is known by then.

Between two operations on small arrays, deciding what to do next costs more than doing it. So what does not depend on
values is decided once, and what is left is a list of functions and their arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from qmath.types import Array

#: A function and its arguments.
Call: TypeAlias = tuple[Callable[..., object], tuple[Any, ...]]
#: Calls in order.
Program: TypeAlias = list[Call]


def run(program: Iterable[Call]) -> None:
    """Make the calls, in order."""
    for function, arguments in program:
        function(*arguments)


def copy(source: Array, to: Array) -> Call:
    """Return the call that copies one array to another, converted to its type; fractions are cut off."""
    return to.__setitem__, (..., source)


def finishing(last: Callable[..., object], values: Array, to: Array, *operands: Array) -> Program:
    """Lay out the last of a chain of operations in place, whose result belongs in an array of the same shape.

    Parameters
    ----------
    last
        Takes values, operands and where to write.
    values
        Contiguous.
    to
        Of any type and with any strides: the last operation writes to it if it has the type of the values.
    operands
        Single numbers.

    """
    flat = values.reshape(-1)
    if to.dtype != values.dtype:
        return [(last, (flat, *operands, flat)), copy(values, to)]
    if to.flags.c_contiguous:
        return [(last, (flat, *operands, to.reshape(-1)))]
    return [(last, (values, *operands, to))]
