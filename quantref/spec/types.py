"""The vocabulary of the spec: operands, and relations between their quantization parameters."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeAlias

from qmath.types import DType


class Role(enum.Enum):
    """What an operand is to its op."""

    ACTIVATION = "activation"
    WEIGHTS = "weights"
    BIAS = "bias"
    STATE = "state"
    #: Axes, shapes, indices, conditions: not quantized.
    ARGUMENT = "argument"


class Granularity(enum.Enum):
    """Whether one scale holds for a whole tensor, or each index along an axis has its own."""

    PER_TENSOR = "per tensor"
    EITHER = "per tensor or per axis"


class ZeroPoint(enum.Enum):
    """Which zero points an operand may have."""

    ANY = "any code"
    ZERO = "0"


@dataclass(frozen=True, slots=True)
class Operand:
    """What the spec says of one operand.

    Attributes
    ----------
    name
        As the spec and the kernels call it.
    role
        What it is to its op.
    dtypes
        Element types that it may have; empty: any.
    granularity, axis
        Whether it may be quantized per axis, and along which dimension then.
    zero_point
        Which zero points it may have.
    narrow
        Whether the lowest code is left out, so that int8 goes from -127 to 127.
    optional
        Whether it may be absent.

    """

    name: str
    role: Role
    dtypes: tuple[DType, ...] = ()
    granularity: Granularity = Granularity.PER_TENSOR
    axis: int | None = None
    zero_point: ZeroPoint = ZeroPoint.ANY
    narrow: bool = False
    optional: bool = False

    @property
    def quantized(self) -> bool:
        """Whether it has quantization parameters at all."""
        return self.role is not Role.ARGUMENT

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "role": self.role.value,
            "dtypes": [dtype.name.lower() for dtype in self.dtypes],
            "granularity": self.granularity.value,
            "axis": self.axis,
            "zero_point": self.zero_point.value,
            "narrow": self.narrow,
            "optional": self.optional,
        }


@dataclass(frozen=True, slots=True)
class BiasScale:
    """The bias is counted in steps of the accumulator: its scale is input scale times weight scale.

    Attributes
    ----------
    bias, input, weights
        Places among the inputs.

    """

    bias: int
    input: int
    weights: int


@dataclass(frozen=True, slots=True)
class SameScale:
    """Codes are moved or compared as they are: all activations share scale and zero point.

    Attributes
    ----------
    demanded
        Whether LiteRT's kernel refuses anything else; otherwise it moves the codes, which then mean other values.
    slots
        Places of the inputs for which it does; empty: of all.

    """

    demanded: bool
    slots: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FixedOutput:
    """The op prescribes the parameters of its output, by the output's type.

    Attributes
    ----------
    params
        Scale and zero point by type.
    demanded
        Whether LiteRT's kernel refuses anything else; otherwise it computes for the parameters that it finds.
    tolerance
        Relative, of the scale.
    any_zero_point
        Whether, though the scale is demanded, LiteRT's kernel takes any zero point.

    """

    params: tuple[tuple[DType, float, int], ...]
    demanded: bool
    tolerance: float = 0.0
    any_zero_point: bool = False


@dataclass(frozen=True, slots=True)
class PowerOfTwo:
    """The scale of an input is a power of two: the kernel multiplies by shifting.

    Attributes
    ----------
    slot
        Place among the inputs.

    """

    slot: int


Relation: TypeAlias = BiasScale | SameScale | FixedOutput | PowerOfTwo


@dataclass(frozen=True, slots=True)
class OpSpec:
    """What the spec says of one op.

    Attributes
    ----------
    op
        Name in the schema's spelling.
    inputs, outputs
        Operands in order; the last stands for all that follow.
    relations
        Between the parameters of operands.
    strict
        Whether the op computes with its operands' scales, and so cannot do without; ops that only move codes can.
    source
        Where this comes from.

    """

    op: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    relations: tuple[Relation, ...]
    strict: bool
    source: str

    def input(self, slot: int) -> Operand:
        """Return the operand at a place among the inputs."""
        return self.inputs[min(slot, len(self.inputs) - 1)]

    def output(self, slot: int) -> Operand:
        """Return the operand at a place among the outputs."""
        return self.outputs[min(slot, len(self.outputs) - 1)]

    @property
    def main(self) -> int:
        """Place of the first activation among the inputs."""
        return next(slot for slot, operand in enumerate(self.inputs) if operand.role is Role.ACTIVATION)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "op": self.op,
            "inputs": [operand.to_json() for operand in self.inputs],
            "outputs": [operand.to_json() for operand in self.outputs],
            "relations": [repr(relation) for relation in self.relations],
            "strict": self.strict,
            "source": self.source,
        }
