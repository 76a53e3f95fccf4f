"""Numbers in binary, cut where a shift cuts them."""

from __future__ import annotations

import struct
from fractions import Fraction

_GROUP = 4
_DECIMALS = 12


def cut_bits(number: int, shift: int) -> str:
    """Return an integer in two's complement with a bar in front of its lowest ``shift`` bits: ``"0110 | 10 0000"``."""
    width = -(-(max(number.bit_length() + 1, shift + 1) - shift) // _GROUP) * _GROUP + shift
    digits = f"{number & ((1 << width) - 1):0{width}b}"
    return f"{_grouped(digits[: width - shift])} | {_grouped(digits[width - shift :])}"


def float32_bits(value: float) -> str:
    """Return sign, exponent and fraction of a float32."""
    (word,) = struct.unpack(">I", struct.pack(">f", value))
    digits = f"{word:032b}"
    return f"{digits[0]} {digits[1:9]} {digits[9:]}"


def quotient(number: int, shift: int) -> str:
    """Say what a shift to the right cuts: ``"-6919 / 2**1 = -3459.5, a tie"``; digits that are left out are dots."""
    whole = 1 << shift
    rest, digits = number & (whole - 1), decimal(Fraction(number, whole))
    where = "exact" if rest == 0 else "a tie" if rest * 2 == whole else "above the middle" if rest * 2 > whole else ""
    return f"{number} / 2**{shift} = {digits}{', ' if where else ', below the middle'}{where}"


def decimal(value: Fraction) -> str:
    """Return a fraction in decimal, up to twelve digits behind the point; dots stand for what is cut off."""
    sign, size = "-" if value < 0 else "", abs(value)
    if 0 < size < Fraction(1, 10**4):
        power = len(str(size.denominator // size.numerator))
        return f"{sign}{decimal(size * 10**power)}e-{power:02d}"
    whole, rest = divmod(size.numerator, size.denominator)
    digits, left = divmod(rest * 10**_DECIMALS, size.denominator)
    behind = f"{digits:0{_DECIMALS}d}"
    if left:
        return f"{sign}{whole}.{behind}..."
    return f"{sign}{whole}.{behind.rstrip('0')}".rstrip(".")


def _grouped(digits: str) -> str:
    first = len(digits) % _GROUP
    groups = [digits[:first], *(digits[i : i + _GROUP] for i in range(first, len(digits), _GROUP))]
    return " ".join(group for group in groups if group)
