"""Aimed cases hit what they are aimed at; what is counted is what is there."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

import fbs
from kernels.profiles import LITERT_REFERENCE
from qmath.errors import QuantrefError
from quantref.recording import Stage
from quantref.support import support_table
from quantref.vectors.catalogue import aims, all_cells, slug
from quantref.vectors.negative import negative, negative_cells
from quantref.vectors.plan import DAMAGES
from quantref.vectors.running import answer
from quantref.vectors.ties import Ties, ties_of


@pytest.mark.parametrize("cell", sorted(aims()))
def test_a_generator_hits_its_aim(cell: str) -> None:
    aim = aims()[cell]
    for case in islice(aim.generate(np.random.default_rng(5)), 100):
        found = answer(fbs.write(case.model), case.samples, aim.profile).coverage.aims()
        if set(aim.hits) <= set(found):
            assert case.cell == cell
            return
    pytest.fail(f"none of 100 cases hits {aim.hits}")


def test_names_of_cases_do_not_collide() -> None:
    assert len({slug(cell) for cell in all_cells()}) == len(all_cells()) > 1000


@pytest.mark.parametrize("cell", list(negative_cells(DAMAGES)))
def test_negative_cases_are_refused(cell: str) -> None:
    case = negative(cell, np.random.default_rng(0))
    with pytest.raises(QuantrefError):
        answer(case.content, [case.inputs], "litert-reference")


def stage(rule: str, value: np.ndarray, **terms: object) -> Stage:
    return Stage("rounded", value, rule, {name: np.asarray(term) for name, term in terms.items()})


def test_ties_are_counted_by_sign() -> None:
    x = np.array([-6, -5, -2, -1, 0, 1, 2, 3, 6], np.int32)
    assert ties_of(stage("half_up(x / 2**right)", x, x=x, right=2)) == Ties(2, 2)
    assert ties_of(stage("wrap(half_up(x / 2**right))", x, x=x, right=1)) == Ties(2, 2)
    assert ties_of(stage("half_away(x / count)", x, x=x, count=12)) == Ties(1, 1)
    assert ties_of(stage("half_up(x / 2**right)", x, x=x, right=0)) == Ties()


def test_ties_of_floats() -> None:
    x = np.array([-2.5, -0.5, 0.0, 0.5, 1.25, np.nan, np.inf], np.float32)
    assert ties_of(stage("half_even(x)", x, x=x)) == Ties(1, 2)
    assert ties_of(stage("half_even(float32(x * scale))", x, x=x, scale=np.float32(2))) == Ties(1, 0)
    # 0.5 - 2**-26 is not halfway, but rounds to a float32 that is.
    near = np.array([0.5 - 2.0**-26])
    assert ties_of(stage("half_even(x)", near, x=near)) == Ties()
    assert ties_of(stage("half_even(float32(x))", near, x=near)) == Ties(1, 0)


def test_rules_that_approximate_or_have_no_terms_have_no_ties() -> None:
    x = np.array([0.5])
    assert ties_of(stage("~ half_up(x)", x, x=x)) == Ties()
    assert ties_of(stage("half_up(exp(x))", x, x=x)) == Ties()
    assert ties_of(stage("half_up(x)", x)) == Ties()


def test_every_aim_names_a_cell_of_its_op() -> None:
    for cell, aim in aims().items():
        case = next(aim.generate(np.random.default_rng(1)))
        assert cell.split()[0] == case.model.subgraphs[0].operators[0].name
        assert " aimed at " in cell


def test_cells_cover_the_support_table() -> None:
    """Every op, and every combination of types that the long comparison has recorded."""
    named = {word for cell in all_cells() for word in cell.split()}
    for op in support_table(LITERT_REFERENCE).ops:
        assert op.op in named, op.op
        assert {cell.cell for cell in op.verified} <= set(all_cells())
