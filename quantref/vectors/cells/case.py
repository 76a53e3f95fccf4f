"""One case of the big sweep: a model of one op and inputs for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

import fbs
from qmath.types import Array


@dataclass(frozen=True)
class Case:
    """A model and what to feed it.

    Attributes
    ----------
    cell
        Op and types, such as ``"CONV_2D int8 per-axis"``: a line of the table of results.
    model
        One op as a rule.
    samples
        One mapping an invocation: arrays by input name.
    runtime
        What to compare with: the reference resolver, unless it lacks the op.

    """

    cell: str
    model: fbs.Model
    samples: tuple[Mapping[str, Array], ...]
    runtime: str = "litert-reference"

    def ordered(self) -> list[list[Array]]:
        """Return the samples as arrays in the order of the model's inputs."""
        graph = self.model.subgraphs[0]
        names = [graph.tensors[index].name for index in graph.inputs]
        return [[sample[name] for name in names] for sample in self.samples]


#: Yields cases of one cell without end.
Generator: TypeAlias = Callable[[np.random.Generator], Iterator[Case]]
