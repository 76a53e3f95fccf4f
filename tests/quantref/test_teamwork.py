"""Threads wait for each other where one needs what another makes, and nowhere else."""

from __future__ import annotations

import dataclasses

import pytest

from kernels.engine.requantized import WORTH_SHARING, Cut
from quantref.teamwork import WHOLE, Place, Sharing, grouped

ENOUGH = WORTH_SHARING


def rows(makes: int, *reads: int, keeps: bool = True, count: int = 8, work: int = ENOUGH) -> Sharing:
    return Sharing(Cut.ROWS, count, reads, makes, keeps_rows=keeps, work=work)


def images(makes: int, *reads: int, count: int = 4, work: int = ENOUGH) -> Sharing:
    return Sharing(Cut.IMAGES, count, reads, makes, keeps_rows=False, work=work)


def groups(*ops: Sharing) -> list[int]:
    return [place.group for place in grouped(ops)]


def test_an_op_that_keeps_rows_goes_on_with_its_own() -> None:
    assert groups(rows(1, 0), rows(2, 1), rows(3, 2, 0)) == [0, 0, 0]


def test_an_op_that_needs_rows_of_others_waits() -> None:
    assert groups(rows(1, 0), rows(2, 1, keeps=False), rows(3, 2)) == [0, 1, 1]


def test_rows_of_before_the_group_are_there_for_all() -> None:
    assert groups(rows(1, 0), rows(2, 0, keeps=False, count=4), rows(3, 2, count=4)) == [0, 0, 0]


def test_rows_of_another_height_are_shared_otherwise() -> None:
    assert groups(rows(1, 0), rows(2, 1, count=16)) == [0, 1]


def test_images_are_everybodys_own() -> None:
    assert groups(images(1, 0), images(2, 1), images(3, 2, count=12), images(4, 3, count=12)) == [0, 0, 2, 2]


def test_what_is_not_shared_is_waited_for() -> None:
    ops = rows(1, 0), WHOLE, rows(2, 1), images(3, 2)
    assert [place.cut for place in grouped(ops)] == [Cut.ROWS, Cut.WHOLE, Cut.ROWS, Cut.IMAGES]
    assert groups(*ops) == [0, 1, 2, 3]


def test_small_ops_join_others_but_are_not_worth_a_wait_of_their_own() -> None:
    small = rows(2, 1, work=1)
    assert grouped([rows(1, 0), small])[1].cut is Cut.ROWS
    alone = grouped([WHOLE, small, dataclasses.replace(small, makes=3, reads=(2,))])
    assert alone == [Place(0, Cut.WHOLE), Place(1, Cut.WHOLE), Place(2, Cut.WHOLE)]


@pytest.mark.parametrize("count", [0, 1])
def test_short_graphs(count: int) -> None:
    assert groups(*[rows(1, 0)] * count) == [0] * count
