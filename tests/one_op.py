"""Run a small model in LiteRT and in quantref, and hold every output element against the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import fbs
import quantref
from qmath.types import Array
from quantref.difference import Difference, difference
from quantref.runtimes import LiteRT


def compare(
    model: fbs.Model | bytes, samples: Sequence[Sequence[Array]], litert: LiteRT, *, profile: str | None = None
) -> int:
    """Assert that quantref gives LiteRT's outputs, and return how many elements were compared.

    Integers are compared by ``==``, floats within 1e-5 (see :mod:`quantref.difference`). Inputs are resized to
    each sample's shape in both. Variable tensors live on from one sample to the next in both.

    Parameters
    ----------
    model
        Any model; one op as a rule.
    samples
        Arrays in input order, one list an invocation.
    litert
        The runtime, as the fixture ``litert`` gives it.
    profile
        quantref's profile; by default the one that the runtime follows.

    """
    content = model if isinstance(model, bytes) else fbs.write(model)
    interpreter = quantref.Interpreter(content, profile=profile or litert.runtime.profile)
    interpreter.allocate_tensors()
    names = [detail["name"] for detail in interpreter.get_output_details()]
    totals = [Difference() for _ in names]
    theirs = litert.stream(content, samples, all_tensors=False, resize=True)
    for number, (sample, answer) in enumerate(zip(samples, theirs, strict=True)):
        found = run_ours(interpreter, sample)
        assert len(found) == len(answer.outputs)
        for output, pair in enumerate(zip(answer.outputs, found, strict=True)):
            totals[output] += difference(*pair, sample=number)
    wrong = [
        f"output {output} ({name}): {total.mismatches} of {total.elements} elements differ; {total.first}"
        for output, (name, total) in enumerate(zip(names, totals, strict=True))
        if total.mismatches
    ]
    assert not wrong, "; ".join(wrong)
    elements = sum(total.elements for total in totals)
    assert elements > 0, "nothing was compared"
    return elements


def run_ours(interpreter: quantref.Interpreter, sample: Sequence[Array]) -> list[Array]:
    """Invoke quantref once, resizing inputs to the sample's shapes where they differ."""
    details = interpreter.get_input_details()
    for detail, value in zip(details, sample, strict=True):
        if tuple(detail["shape"]) != np.shape(value):
            interpreter.resize_tensor_input(detail["index"], np.shape(value))
            interpreter.allocate_tensors()
    for detail, value in zip(details, sample, strict=True):
        interpreter.set_tensor(detail["index"], np.asarray(value))
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
