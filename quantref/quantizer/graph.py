"""A subgraph of a float model as quantization looks at it: who makes each tensor, who reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import fbs
from qmath.types import Array, DType


class Use(NamedTuple):
    """An operand: which operator reads a tensor, and in which of its input slots."""

    op: int
    slot: int


@dataclass(frozen=True)
class FloatGraph:
    """A subgraph that is about to be quantized.

    Attributes
    ----------
    model
        The float model.
    index
        Which of its subgraphs.

    """

    model: fbs.Model
    index: int = 0

    @property
    def subgraph(self) -> fbs.Subgraph:
        """The subgraph."""
        return self.model.subgraphs[self.index]

    @property
    def tensors(self) -> tuple[fbs.Tensor, ...]:
        """Its tensors."""
        return self.subgraph.tensors

    @property
    def operators(self) -> tuple[fbs.Operator, ...]:
        """Its operators, in order of execution."""
        return self.subgraph.operators

    @cached_property
    def producers(self) -> Mapping[int, int]:
        """The operator that makes each tensor; inputs, constants and variables have none."""
        return {tensor: op for op, operator in enumerate(self.operators) for tensor in operator.outputs}

    @cached_property
    def uses(self) -> Mapping[int, tuple[Use, ...]]:
        """The operands that each tensor is, in order of execution; none for tensors that only leave the graph."""
        found: dict[int, list[Use]] = {index: [] for index in range(len(self.tensors))}
        for op, operator in enumerate(self.operators):
            for slot, tensor in enumerate(operator.inputs):
                if tensor >= 0:
                    found[tensor].append(Use(op, slot))
        return {tensor: tuple(uses) for tensor, uses in found.items()}

    def is_float(self, tensor: int) -> bool:
        """Whether a tensor exists and holds float32."""
        return tensor >= 0 and self.tensors[tensor].dtype is DType.FLOAT32

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor exists and is a constant."""
        return tensor >= 0 and self.tensors[tensor].is_constant

    def constant(self, tensor: int) -> Array:
        """Return the elements of a constant."""
        data = self.tensors[tensor].data
        assert data is not None, f"tensor {tensor} is a constant"  # noqa: S101 - callers have asked is_constant
        return data

    def float_inputs(self, op: int) -> Iterator[tuple[Use, int]]:
        """Give an operator's operands that are float, with their tensors."""
        for slot, tensor in enumerate(self.operators[op].inputs):
            if self.is_float(tensor):
                yield Use(op, slot), tensor

    def float_outputs(self, op: int) -> list[int]:
        """Return an operator's results that are float."""
        return [tensor for tensor in self.operators[op].outputs if self.is_float(tensor)]

    def options(self, op: int) -> Mapping[str, Any]:
        """Return an operator's options."""
        return fbs.view(self.subgraph, self.operators[op]).options

    def describe(self, op: int) -> str:
        """Name an operator for a message."""
        operator = self.operators[op]
        outputs = [tensor for tensor in operator.outputs if tensor >= 0]
        giving = f" giving {self.tensors[outputs[0]].name!r}" if outputs else ""
        return f"op {op} ({operator.name}){giving}"
