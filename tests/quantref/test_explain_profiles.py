"""Explanations under every profile: each printed number is calculated again, as for the reference."""

from __future__ import annotations

import zlib
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

import quantref as qr
from kernels import profiles
from kernels.profiles import Profile
from qmath.errors import QuantrefError
from quantref.vectors.cells.case import Generator
from tests.oracles.calculator import press
from tests.quantref.test_explain_every_op import check_sum, generators, same, with_shapes_of

PROFILES = (
    *(profiles.LITERT_OPTIMIZED, profiles.LITERT_OPTIMIZED_ARM64, profiles.XNNPACK, profiles.XNNPACK_ARM64),
    profiles.TFLM,
)
OPS = (
    *("ADD", "SUB", "MUL", "QUANTIZE", "DEQUANTIZE", "LOGISTIC", "TANH", "ELU", "SOFTMAX", "LOG_SOFTMAX", "MEAN"),
    *("LEAKY_RELU", "RELU6", "PRELU", "RESIZE_BILINEAR", "HARD_SWISH", "SQUARED_DIFFERENCE", "REDUCE_PROD"),
)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("op", OPS)
def test_every_step_is_calculated_again(op: str, profile: Profile) -> None:
    if profile.ops is not None and op not in profile.ops:
        pytest.skip(f"{profile.runtime} has no {op}")
    compared = sum(explained(cell, generator, profile) for cell, generator in generators()[op][:4])
    assert compared > 0


def explained(cell: str, generator: Generator, profile: Profile) -> int:
    """Explain the first and the last element of the first case that runs."""
    rng = np.random.default_rng(zlib.crc32(cell.encode()))
    for case in islice(generator(rng), 6):
        model, inputs = with_shapes_of(case), case.samples[0]
        value = output(model, inputs, profile)
        if value is None or not value.size:
            continue
        for flat in (0, value.size - 1):
            index = tuple(int(i) for i in np.unravel_index(flat, value.shape)) if value.ndim else ()
            tensor = model.subgraphs[0].outputs[0]
            explanation = qr.explain(model, inputs, tensor=tensor, index=index, profile=profile)
            assert same(explanation.output.value, value[index].item())
            assert same(explanation.steps[-1].value, explanation.output.value)
            for step in (*explanation.constants, *explanation.steps):
                if step.numbers and not step.approximate:
                    assert press(step.numbers) == Fraction(step.value), f"{cell}: {step}"
            if explanation.sum is not None:
                check_sum(explanation.sum)
        return 1
    return 0


def output(model: object, inputs: object, profile: Profile) -> np.ndarray | None:
    """Return the first output, or None where the profile does not run the model."""
    try:
        return next(iter(qr.run(model, inputs, profile=profile).values()))
    except QuantrefError:
        return None
