"""What the rules see of a model: an operator with its spec, its place, and a way to say what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np

import fbs
from kernels.profiles import Profile
from qmath.errors import QuantrefError
from qmath.types import BoolArray, DType
from quantref.checks.channels import Channels, channels_of
from quantref.checks.finding import Finding, Location, Severity
from quantref.checks.rule import Effect, Rule
from quantref.spec import Operand, OpSpec, Role, Scheme, scheme_of, spec_of
from quantref.spec.tables import EIGHT_BIT


@dataclass(frozen=True, slots=True)
class Scope:
    """What is asked of a check.

    Attributes
    ----------
    file
        Path of the model, or ``"model"``.
    profiles
        The runtimes that matter.
    named
        Whether they were asked for by name: then what one of them refuses is an error.

    """

    file: str
    profiles: tuple[Profile, ...]
    named: bool

    def minds(self, *names: str) -> bool:
        """Whether one of these runtimes matters."""
        return any(profile.name in names for profile in self.profiles)

    def finding(
        self,
        rule: Rule,
        location: Location,
        expected: str,
        found: str,
        *,
        detail: str = "",
        severity: Severity | None = None,
        runtimes: Sequence[str] | None = None,
    ) -> Finding:
        """Return a finding, about those runtimes that matter."""
        wanted = {profile.name for profile in self.profiles}
        mind = tuple(name for name in (rule.runtimes if runtimes is None else runtimes) if name in wanted)
        level = rule.severity if severity is None else severity
        if self.named and mind and rule.effect in {Effect.REFUSES, Effect.UNDEFINED}:
            level = Severity.ERROR
        return Finding(rule, level, self.file, location, expected, found, detail, mind)


@dataclass(frozen=True)
class OpContext:
    """An operator under check.

    Attributes
    ----------
    scope
        What is asked.
    subgraph, index
        Where it is.
    graph
        The subgraph.
    view
        The operator with its tensors.
    readers
        How many operators read a tensor, by the tensor's index.

    """

    scope: Scope
    subgraph: int
    index: int
    graph: fbs.Subgraph
    view: fbs.OpView
    readers: Mapping[int, int] = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the op."""
        return self.view.name

    @cached_property
    def main(self) -> fbs.Tensor | None:
        """The first activation among the inputs, which decides what scheme the op falls under."""
        known = EIGHT_BIT.get(self.name)
        slot = 0 if known is None else known.main
        return self.view.inputs[slot] if slot < len(self.view.inputs) else None

    @cached_property
    def scheme(self) -> Scheme | None:
        """The scheme that the op falls under, or None for float and others."""
        return None if self.main is None else scheme_of(self.main.dtype)

    @cached_property
    def spec(self) -> OpSpec | None:
        """What that scheme says of the op, or None."""
        return None if self.scheme is None else spec_of(self.name, self.scheme)

    @property
    def quantized(self) -> bool:
        """Whether it computes with codes: ops that only move plain integers have no scales."""
        tensors = [tensor for tensor in (*self.view.inputs, *self.view.outputs) if tensor is not None]
        return any(tensor.quant is not None for tensor in tensors)

    def operands(self) -> Iterator[tuple[Operand, fbs.Tensor]]:
        """Yield what the spec says of each tensor that is there, inputs first."""
        if self.spec is None:
            return
        for slot, tensor in enumerate(self.view.inputs):
            if tensor is not None:
                yield self.spec.input(slot), tensor
        indices = self.view.operator.outputs
        for slot, (index, tensor) in enumerate(zip(indices, self.view.outputs, strict=True)):
            # Converters leave outputs that nobody reads as they were.
            if len(indices) == 1 or index in self.readers or index in self.graph.outputs:
                yield self.spec.output(slot), tensor

    def activations(self) -> list[fbs.Tensor]:
        """Return the quantized activations, inputs first."""
        return [tensor for operand, tensor in self.operands() if operand.role is Role.ACTIVATION]

    def input(self, slot: int) -> fbs.Tensor | None:
        """Return an input, or None if there is none."""
        return self.view.inputs[slot] if 0 <= slot < len(self.view.inputs) else None

    @cached_property
    def channels(self) -> Channels | None:
        """Bounds of the accumulators of an op with constant weights, or None."""
        try:
            return channels_of(self.view)
        except QuantrefError:
            return None

    def location(self, *tensors: fbs.Tensor | None) -> Location:
        """Return the place of the op, and of some of its tensors."""
        names = tuple(tensor.name for tensor in tensors if tensor is not None)
        return Location(self.subgraph, self.index, self.name, names)

    def finding(
        self,
        rule: Rule,
        tensors: Sequence[fbs.Tensor | None],
        expected: str,
        found: str,
        *,
        detail: str = "",
        severity: Severity | None = None,
        runtimes: Sequence[str] | None = None,
    ) -> Finding:
        """Return a finding about the op."""
        place = self.location(*tensors)
        return self.scope.finding(rule, place, expected, found, detail=detail, severity=severity, runtimes=runtimes)


#: A family of rules about one operator.
Check: TypeAlias = Callable[[OpContext], Iterator[Finding]]


def in_words(dtypes: Sequence[DType]) -> str:
    """Return types in lower case, such as ``"int8 or int4"``."""
    return " or ".join(dtype.name.lower() for dtype in dtypes)


def listed(indices: Sequence[int], most: int = 8) -> str:
    """Return indices in a few words: all of few, the first of many."""
    shown = ", ".join(str(index) for index in indices[:most])
    return shown if len(indices) <= most else f"{shown} and {len(indices) - most} more"


def in_channels(chosen: BoolArray) -> str:
    """Return which channels are chosen, in a few words."""
    indices = np.flatnonzero(chosen).tolist()
    return f"channel{'s' * (len(indices) > 1)} {listed(indices)} of {chosen.size}"
