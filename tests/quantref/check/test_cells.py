"""Cases of every cell of the support table run in LiteRT: check calls none of them broken, whatever their edges."""

from __future__ import annotations

import zlib

import numpy as np

import quantref as qr
from tests.sweep import all_cells

#: They run, but LiteRT ignores their zero points, so that they compute something else than they say.
IGNORED = "per-axis-zero-point"


def test_no_case_of_a_cell_has_an_error() -> None:
    checked = 0
    wrong = []
    for name, generate in sorted(all_cells().items()):
        case = next(iter(generate(np.random.default_rng(zlib.crc32(name.encode())))))
        found = qr.check(case.model)
        wrong += [f"{name}: {finding}" for finding in found.errors if finding.rule.slug != IGNORED]
        checked += 1
    assert checked > 500
    assert not wrong, "\n".join(wrong)
