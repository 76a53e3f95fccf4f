"""The operands that recur in the tables, for one type of activations."""

from __future__ import annotations

from dataclasses import dataclass

from qmath.types import DType
from quantref.spec.types import Granularity, Operand, Role, ZeroPoint

#: Axes, shapes, indices, conditions.
ARGUMENT = Operand("argument", Role.ARGUMENT, optional=True)


@dataclass(frozen=True, slots=True)
class Kind:
    """The operands of one scheme.

    Attributes
    ----------
    activations
        Type of activations.
    zero_point
        Of activations.
    weights
        Types of weights of convolutions and FULLY_CONNECTED.
    symmetric_weights
        Whether weights have the zero point 0, go from the negative of the highest code, and may be per axis.
    biases
        Types of biases.

    """

    activations: DType
    zero_point: ZeroPoint
    weights: tuple[DType, ...]
    symmetric_weights: bool
    biases: tuple[DType, ...]

    def activation(self, name: str, *more: DType) -> Operand:
        """Return an activation, which may also be of ``more`` types."""
        return Operand(name, Role.ACTIVATION, (self.activations, *more), zero_point=self.zero_point)

    def argument(self, name: str) -> Operand:
        """Return an operand that is not quantized."""
        return Operand(name, Role.ARGUMENT, optional=True)

    def weight(self, axis: int, *more: DType, name: str = "weights") -> Operand:
        """Return weights of a convolution or of FULLY_CONNECTED."""
        if not self.symmetric_weights:
            return Operand(name, Role.WEIGHTS, (*self.weights, *more))
        return Operand(
            name, Role.WEIGHTS, (*self.weights, *more), Granularity.EITHER, axis, ZeroPoint.ZERO, narrow=True
        )

    def single(self, name: str, *dtypes: DType, role: Role = Role.WEIGHTS, optional: bool = False) -> Operand:
        """Return symmetric weights that have one scale, as recurrent ops do, or a state."""
        found = dtypes or self.weights
        return Operand(name, role, found, zero_point=ZeroPoint.ZERO, narrow=role is Role.WEIGHTS, optional=optional)

    def bias(self, *dtypes: DType, axis: int = 0) -> Operand:
        """Return a bias."""
        granularity = Granularity.EITHER if self.symmetric_weights else Granularity.PER_TENSOR
        found = dtypes or self.biases
        return Operand("bias", Role.BIAS, found, granularity, axis, ZeroPoint.ZERO, optional=True)


INT8 = Kind(DType.INT8, ZeroPoint.ANY, (DType.INT8, DType.INT4), symmetric_weights=True, biases=(DType.INT32,))
INT16 = Kind(
    DType.INT16, ZeroPoint.ZERO, (DType.INT8, DType.INT4), symmetric_weights=True, biases=(DType.INT64, DType.INT32)
)
UINT8 = Kind(DType.UINT8, ZeroPoint.ANY, (DType.UINT8,), symmetric_weights=False, biases=(DType.INT32,))
