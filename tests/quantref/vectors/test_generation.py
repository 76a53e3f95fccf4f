"""Suites are made whole, the same bytes each time, and go on where they were broken off."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantref as qr
from qmath.errors import InputError
from quantref.vectors import Suite, generate
from tests.quantref.vectors.plans import CONV, TINY, small


def content(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_and_two_processes_give_the_same_bytes(tmp_path: Path) -> None:
    generate(small(formats=["json", "c", "hex"], stages=True), tmp_path / "one")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        generate(small(formats=["json", "c", "hex"], stages=True), tmp_path / "two", executor=pool)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_suite_holds_what_profiles_give(tmp_path: Path) -> None:
    suite = generate(small(), tmp_path / "suite")
    compared = 0
    for case in suite.cases():
        for profile in case.profiles if case.kind == "op" and case.invocations == 1 else ():
            found = qr.run(case.model_bytes(), case.inputs()[0], profile)
            for name, expected in case.expected(profile)[0].items():
                np.testing.assert_array_equal(found[name], expected, strict=True)
                compared += expected.size
    assert compared > 1000
    assert suite.verify() == len(suite) == len(list(suite.cases()))


class Broken(Executor):
    """Fails at the third unit."""

    def __init__(self) -> None:
        self.units = 0

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run at once."""
        self.units += 1
        done: Future[Any] = Future()
        if self.units == 3:
            done.set_exception(KeyboardInterrupt())
        else:
            done.set_result(function(*args, **kwargs))
        return done


@pytest.mark.parametrize("layout", ["folders", "records"])
def test_a_suite_that_was_broken_off_goes_on(tmp_path: Path, layout: str) -> None:
    plan = small(layout=layout)
    generate(plan, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        generate(plan, tmp_path / "broken", executor=Broken())
    with pytest.raises(InputError, match=r"manifest\.json"):
        Suite.open(tmp_path / "broken")
    with pytest.raises(InputError, match="unfinished"):
        generate(plan, tmp_path / "broken")
    with pytest.raises(InputError, match="of another"):
        generate(small(layout=layout, seed=8), tmp_path / "broken", resume=True)
    with ThreadPoolExecutor(2) as pool:
        generate(plan, tmp_path / "broken", executor=pool, resume=True)
    assert content(tmp_path / "whole") == content(tmp_path / "broken")
    assert len(generate(plan, tmp_path / "broken", resume=True)) == len(Suite.open(tmp_path / "whole"))


def test_records_hold_the_same_files(tmp_path: Path) -> None:
    folders = generate(small(), tmp_path / "folders")
    records = generate(small(layout="records"), tmp_path / "records")
    pairs = list(zip(folders.cases(), records.cases(), strict=True))
    assert len(pairs) > 20
    for one, other in pairs:
        assert one.id == other.id
        assert one.files == other.files
        assert all(one.read(name) == other.read(name) for name in one.files)


def test_a_case_depends_on_seed_cell_and_number_alone(tmp_path: Path) -> None:
    one = generate(small(**TINY), tmp_path / "one").case("add-int8-0001")
    more = TINY | {"cells": [{"cells": ["ADD int8", "MUL int8"], "count": 3}], "shard_cases": 50}
    other = generate(small(**more), tmp_path / "other").case("add-int8-0001")
    assert one.read("model.tflite") == other.read("model.tflite")
    assert one.read("inputs.npz") == other.read("inputs.npz")
    reseeded = generate(small(**TINY, seed=9), tmp_path / "reseeded").case("add-int8-0001")
    assert reseeded.read("inputs.npz") != one.read("inputs.npz")


def test_a_budget_ends_a_suite(tmp_path: Path) -> None:
    whole = generate(small(**TINY), tmp_path / "whole")
    cut = generate(small(**TINY, budget=whole.manifest.bytes - 1), tmp_path / "cut")
    assert len(cut) == len(whole) - 1
    assert cut.manifest.coverage["full"]
    assert cut.manifest.bytes < whole.manifest.bytes


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something in it"):
        generate(small(**TINY), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_option_grids_give_each_combination(tmp_path: Path) -> None:
    plan = small(**TINY | {"cells": [{"cells": CONV, "options": {"padding": [0, 1], "stride_h": [1, 2]}}]})
    ids = [case.id for case in generate(plan, tmp_path / "suite").cases()]
    assert [name.split("bias-")[1] for name in ids] == [
        f"padding-{padding}-stride_h-{stride}-0000" for padding in (0, 1) for stride in (1, 2)
    ]
