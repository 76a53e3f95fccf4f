"""What an explanation holds: plain data that can be printed, checked and serialized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: One element of a tensor or of a stage.
Scalar: TypeAlias = "int | float | bool | str"


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor that the op reads or gives.

    Attributes
    ----------
    role
        What it is to the op: ``"input"``, ``"filter"`` ..., ``"output"``.
    tensor
        Its name.
    dtype, shape
        Element type, in lower case, and shape.
    quantization
        Scale and zero point that go with the element, to the last digit; empty if the tensor has none.

    """

    role: str
    tensor: str
    dtype: str
    shape: tuple[int, ...]
    quantization: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "role": self.role,
            "tensor": self.tensor,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "quantization": self.quantization,
        }


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a tensor, or of a stage.

    Attributes
    ----------
    tensor, index
        Where it is.
    role
        What the tensor is to the op: ``"input"``, ``"filter"`` ..., ``"output"``; for a stage, its name.
    value
        The code, or the number if the tensor is not quantized.
    zero_point, scale
        Of its channel, if the tensor is quantized; else None.

    """

    tensor: str
    role: str
    index: tuple[int, ...]
    value: Scalar
    zero_point: int | None = None
    scale: float | None = None

    @property
    def real(self) -> float | None:
        """The real number that it stands for, or None where it is no number."""
        if isinstance(self.value, str | bool):
            return None
        if self.scale is None or self.zero_point is None:
            return float(self.value)
        return self.scale * (self.value - self.zero_point)

    @property
    def place(self) -> str:
        """Role and index, such as ``"input[0, 5, 7, 3]"``."""
        return f"{self.role}[{', '.join(map(str, self.index))}]"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "tensor": self.tensor,
            "role": self.role,
            "index": list(self.index),
            "value": plain(self.value),
            "zero_point": self.zero_point,
            "scale": self.scale,
            "real": None if self.real is None else plain(self.real),
        }


@dataclass(frozen=True, slots=True)
class Product:
    """One of the numbers that are summed: the factors, each an element less ``offset``, multiplied."""

    factors: tuple[Element, ...]
    offsets: tuple[int, ...]
    value: Scalar

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        factors = [
            factor.to_json() | {"offset": offset} for factor, offset in zip(self.factors, self.offsets, strict=True)
        ]
        return {"factors": factors, "value": plain(self.value)}


@dataclass(frozen=True, slots=True)
class Sum:
    """What an op sums for one element, or chooses the largest of.

    Attributes
    ----------
    products
        All of them, in the order of memory.
    padding
        How many more lie in the padding and contribute nothing.
    stage, value
        The stage that they make, and its value there.
    fold
        How they make it: ``"sum"`` or ``"largest"``.
    exact
        Whether they make it exactly; sums of floats are rounded as they go.

    """

    products: tuple[Product, ...]
    padding: int
    stage: str
    value: Scalar
    fold: str
    exact: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "stage": self.stage,
            "value": plain(self.value),
            "fold": self.fold,
            "exact": self.exact,
            "padding": self.padding,
            "products": [product.to_json() for product in self.products],
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One stage, for the one element.

    Attributes
    ----------
    stage
        Its name.
    value
        Its value.
    rule
        How it follows, in names, such as ``"half_away(product / 2**right)"``; empty if the definition does not say.
    numbers
        The rule with numbers in place of names; a pocket calculator gives ``value``.
    bits
        What is rounded, in binary: the bar stands where the lower bits are cut off.
    remark
        What is worth knowing: a tie, an overflow.
    approximate
        Whether the rule is what the step approximates, by fixed-point series or tables, rather than what it does.
    terms
        The numbers by the names that they have in the rule.

    """

    stage: str
    value: Scalar
    rule: str = ""
    numbers: str = ""
    bits: str = ""
    remark: str = ""
    approximate: bool = False
    terms: Mapping[str, Scalar] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "stage": self.stage,
            "value": plain(self.value),
            "rule": self.rule,
            "numbers": self.numbers,
            "terms": {name: plain(value) for name, value in self.terms.items()},
            "approximate": self.approximate,
            "bits": self.bits,
            "remark": self.remark,
        }


@dataclass(frozen=True, slots=True)
class Alternative:
    """What another arithmetic gives for the same inputs of the op.

    Attributes
    ----------
    name
        Of a profile or a regime.
    value
        What it gives, or None if it does not run the op.
    remark
        How it rounds, or why it does not run.
    used
        Whether this is the one that was explained.

    """

    name: str
    value: Scalar | None
    remark: str
    used: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        value = None if self.value is None else plain(self.value)
        return {"name": self.name, "value": value, "remark": self.remark, "used": self.used}


@dataclass(frozen=True, slots=True)
class FloatValue:
    """What a float model gives for the same element, or why that is not known."""

    value: float | None
    remark: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"value": None if self.value is None else plain(self.value), "remark": self.remark}


def plain(value: Scalar) -> Scalar:
    """Return a value that JSON has: infinities and NaN as words."""
    return value if not isinstance(value, float) or abs(value) < float("inf") else str(value)


def number(value: Scalar) -> str:
    """Return a number to the last digit: integers whole, floats with as few digits as name their float64."""
    return repr(value) if isinstance(value, float) else str(value)
