"""Damaged models give findings or a QuantrefError, soon, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import quantref as qr
from qmath.errors import QuantrefError
from tests.quantref.test_damaged import MODELS, damaged

LIMIT = 5.0


@pytest.mark.parametrize("name", MODELS)
def test_damaged_models(data: Path, name: str) -> None:
    qr.check(data / name)  # imports what it needs
    found = {"refused": 0, "errors": 0, "others": 0}
    for copy in damaged((data / name).read_bytes(), 150, seed=5):
        start = time.monotonic()
        try:
            result = qr.check(copy)
        except QuantrefError:
            found["refused"] += 1
        else:
            found["errors" if result.errors else "others"] += 1
            assert result.to_json()
        assert time.monotonic() - start < LIMIT
    assert all(found.values()), found


def test_structure_that_breaks_in_many_places_is_told_in_full(data: Path) -> None:
    """Each broken operator is a finding of its own; what is whole is checked on."""
    model = qr.load(data / "digits_int8.tflite")
    graph = model.subgraphs[0]
    from tests.quantref.check.models import with_op  # noqa: PLC0415 - an edit of this test alone

    for index in (1, 3, 5):
        model = with_op(model, index, inputs=(10_000, *graph.operators[index].inputs[1:]))
    broken = [finding.location.op_index for finding in qr.check(model).errors]
    assert broken == [1, 3, 5]
