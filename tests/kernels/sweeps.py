"""What the tests of many ops share: the first cases of a cell, and how many examples Hypothesis tries."""

from __future__ import annotations

import zlib
from itertools import islice

import numpy as np
from hypothesis import settings

from quantref.runtimes import LiteRT
from quantref.vectors.cells.case import Generator
from tests.one_op import compare


def examples(count: int) -> settings:
    """Try as many examples, the same ones every time, however slow the machine is."""
    return settings(max_examples=count, deadline=None, derandomize=True)


def compare_cell(cell: str, generator: Generator, litert: LiteRT, *, least: int = 200, most_cases: int = 100) -> int:
    """Compare cases of a cell with LiteRT until ``least`` elements are reached, and return how many were compared."""
    rng = np.random.default_rng(zlib.crc32(cell.encode()))
    elements = 0
    for case in islice(generator(rng), most_cases):
        elements += compare(case.model, case.ordered(), litert)
        if elements >= least:
            break
    return elements
