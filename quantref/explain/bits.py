"""Numbers in binary, cut where a shift cuts them."""

from __future__ import annotations

import struct

_GROUP = 4


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


def remainder(number: int, shift: int) -> str:
    """Say what the lowest ``shift`` bits are of the whole that they are cut from."""
    rest, whole = number & ((1 << shift) - 1), 1 << shift
    if rest * 2 == whole:
        return "a tie"
    return "exact" if rest == 0 else f"remainder {rest / whole:.3g}"


def _grouped(digits: str) -> str:
    first = len(digits) % _GROUP
    groups = [digits[:first], *(digits[i : i + _GROUP] for i in range(first, len(digits), _GROUP))]
    return " ".join(group for group in groups if group)
