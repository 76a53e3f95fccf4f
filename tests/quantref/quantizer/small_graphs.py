"""Small float graphs, and statistics for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import fbs
from qmath.types import DType
from quantref.quantizer import Range, Statistics

SHAPE = (1, 4)


class FloatGraphBuilder:
    """Builds graphs of float tensors of one shape."""

    def __init__(self) -> None:
        self.builder = fbs.Builder()

    def input(self, name: str = "x") -> int:
        """Add an input of the graph."""
        return self.builder.input(name, DType.FLOAT32, SHAPE)

    def dense(self, source: int, name: str, *, bias: float = 0.25, weight: float = 0.5) -> int:
        """Add a FULLY_CONNECTED with weights up to a magnitude and a bias."""
        weights = np.linspace(-weight, weight, 16, dtype=np.float32).reshape(4, 4)
        operands = [
            source,
            self.builder.constant(f"{name}/w", weights),
            self.builder.constant(f"{name}/b", np.full(4, bias, np.float32)),
        ]
        return self.op("FULLY_CONNECTED", operands, name)

    def op(self, op: str, operands: Sequence[int], name: str, shape: Sequence[int] = SHAPE, **options: object) -> int:
        """Add an op with one float result."""
        result = self.builder.tensor(name, DType.FLOAT32, shape)
        self.builder.op(op, operands, [result], **options)
        return result

    def join(self, operands: Sequence[int], name: str) -> int:
        """Add a CONCATENATION."""
        return self.op("CONCATENATION", operands, name, (1, 4 * len(operands)), axis=1)

    def finish(self, *outputs: int) -> fbs.Model:
        """Return the model with these outputs."""
        return self.builder.finish(outputs)


def statistics(model: fbs.Model, **ranges: tuple[float, float]) -> Statistics:
    """Return statistics of every activation: the given ranges by name, and -1 to 1 for the rest."""
    names = [
        tensor.name for tensor in model.subgraphs[0].tensors if tensor.dtype is DType.FLOAT32 and not tensor.is_constant
    ]
    return Statistics({name: Range(*ranges.get(name, (-1, 1))) for name in names})


def ops(model: fbs.Model) -> list[str]:
    """Return the names of the operators, in order."""
    return [operator.name for operator in model.subgraphs[0].operators]


def tensor(model: fbs.Model, name: str) -> fbs.Tensor:
    """Return the tensor of a name."""
    (found,) = [tensor for tensor in model.subgraphs[0].tensors if tensor.name == name]
    return found


def params(model: fbs.Model, name: str) -> tuple[float, int]:
    """Return scale and zero point of the tensor of a name."""
    quant = tensor(model, name).quant
    assert quant is not None, f"{name} is not quantized"
    return float(quant.scale[0]), int(quant.zero_point[0])
