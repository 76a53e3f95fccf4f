"""Ops that keep variable tensors: both forms in step, several invocations, and goldens of several steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fbs
import quantref
from kernels.engine.types import TensorView
from qmath.stages import silent
from qmath.types import Array
from quantref.difference import difference
from quantref.vectors.cells.case import Case
from tests.kernels.forms import inputs_of, prepare_op
from tests.one_op import run_ours


def assert_stateful_forms_agree(case: Case, rng: np.random.Generator) -> int:
    """Hold the compiled form against the definition over all samples, from a random state, and count elements."""
    prepared, tensors = prepare_op(case.model), fbs.view(case.model.subgraphs[0], 0).inputs
    compiled = prepared.compile(inputs_of(case.model, {}))
    assert prepared.updates, "the op keeps no state"
    states = {slot: _random(tensors[slot], rng) for slot in prepared.updates}
    elements = 0
    for sample in case.samples:
        inputs = inputs_of(case.model, sample)
        for slot, state in states.items():
            inputs[slot] = state
        with np.errstate(all="ignore"):
            expected, found = prepared.evaluate(inputs, silent), compiled(inputs)
        for pair in zip(expected, found, strict=True):
            result = difference(*pair)
            assert result.mismatches == 0, f"{case.cell}: {result.first}"
            elements += result.elements
        states = dict(zip(prepared.updates, expected[-len(states) :], strict=True))
    return elements


def _random(tensor: TensorView | None, rng: np.random.Generator) -> Array:
    assert tensor is not None
    assert tensor.is_variable
    if tensor.dtype.storage.kind == "f":
        return rng.normal(size=tensor.shape).astype(tensor.dtype.storage)
    codes: Array = rng.integers(tensor.dtype.min, tensor.dtype.max + 1, tensor.shape).astype(tensor.dtype.storage)
    return codes


def assert_goldens_of_steps_match(shared: Path, op: str, runtime: str, profile: str, case: str = "*") -> int:
    """Run every golden of an op that a runtime ran step by step, and return how many elements were compared."""
    elements = 0
    for path in sorted((shared / "goldens").glob(f"{op}__{case}.npz")):
        with np.load(path) as golden:
            expected, inputs = golden.get(f"{runtime}__output_0"), golden["input_0"]
        if expected is None:
            continue
        interpreter = quantref.Interpreter(path.with_suffix(".tflite"), profile=profile)
        interpreter.allocate_tensors()
        found = np.stack([run_ours(interpreter, [step])[0] for step in inputs])
        result = difference(expected, found)
        assert result.mismatches == 0, f"{path.stem}: {result.mismatches} of {result.elements} differ; {result.first}"
        elements += result.elements
    assert elements > 0, "nothing was compared"
    return elements
