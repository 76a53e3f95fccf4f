"""Prepare the one op of a model and run it by its definition and by its compiled form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import fbs
from kernels.engine import registry
from kernels.engine.requantized import RUNS_UNTIL_SETTLED
from kernels.engine.types import Inputs, Outputs, Prepared
from kernels.profiles import LITERT_REFERENCE, Profile
from qmath.stages import silent
from qmath.types import Array
from quantref.difference import difference
from quantref.vectors.cells.case import Case


def prepare_op(model: fbs.Model, profile: Profile = LITERT_REFERENCE) -> Prepared:
    """Prepare the first op of a model."""
    return registry.prepare(fbs.view(model.subgraphs[0], 0), profile)


def inputs_of(model: fbs.Model, sample: Mapping[str, Array]) -> list[Array | None]:
    """Return what the first op reads: constants of the model, and the sample's arrays by tensor name."""
    tensors = fbs.view(model.subgraphs[0], 0).inputs
    return [None if tensor is None else sample.get(tensor.name, tensor.data) for tensor in tensors]


def run_forms(
    model: fbs.Model, sample: Mapping[str, Array], profile: Profile = LITERT_REFERENCE
) -> tuple[Outputs, Outputs]:
    """Return the outputs of the definition and of the compiled form."""
    prepared = prepare_op(model, profile)
    constants: Inputs = inputs_of(model, {})
    inputs = inputs_of(model, sample)
    with np.errstate(all="ignore"):
        return prepared.evaluate(inputs, silent), prepared.compile(constants)(inputs)


def assert_forms_agree(case: Case, profile: Profile = LITERT_REFERENCE) -> int:
    """Hold the compiled form against the definition on every sample, and return how many elements were compared.

    Samples are run again until the compiled form has taken its final shape.
    """
    prepared, elements = prepare_op(case.model, profile), 0
    compiled = prepared.compile(inputs_of(case.model, {}))
    for sample in case.samples * -(-(RUNS_UNTIL_SETTLED + 1) // len(case.samples)):
        inputs = inputs_of(case.model, sample)
        with np.errstate(all="ignore"):
            pairs = zip(prepared.evaluate(inputs, silent), compiled(inputs), strict=True)
        for expected, found in pairs:
            result = difference(expected, found)
            assert result.mismatches == 0, f"{case.cell}: {result.first}"
            elements += result.elements
    return elements


class Notes:
    """Collects the stages that a definition names."""

    def __init__(self) -> None:
        self.stages: dict[str, Any] = {}

    def __call__(self, stage: str, value: Array, rule: str = "", /, **terms: npt.ArrayLike) -> Array:
        """Keep the stage."""
        del rule, terms
        self.stages[stage] = value.tolist()
        return value


def trace(model: fbs.Model, sample: Mapping[str, Array]) -> tuple[Sequence[Array], dict[str, Any]]:
    """Return the outputs of the definition and its stages as plain lists."""
    notes = Notes()
    return prepare_op(model).evaluate(inputs_of(model, sample), notes), notes.stages
