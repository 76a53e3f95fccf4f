"""The benchmarks run, keep what they found, and notice what became worse."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest

import fbs
from benchmarks import curves, speed, tables
from benchmarks import run as runs
from benchmarks.__main__ import BEGIN, END, README
from benchmarks.compare import TOLERANCE, compare
from benchmarks.engines import OURS, REFERENCE, Engine
from benchmarks.models import models_at_hand
from benchmarks.plot import draw
from benchmarks.results import Calibration, Case, Memory, Point, Results, Start, Timing
from benchmarks.speed import FEWEST, FULL, QUICK, SLOW
from benchmarks.synthetic import channels_of, mobilenet_v2
from qmath.errors import InputError
from quantref.runtimes import LiteRT, RuntimeCrashed, RuntimeRefused
from quantref.samples import random_samples
from tests.meta.house import ROOT
from tests.one_op import compare as compare_with_litert


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks' command line."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.litert
def test_a_quick_run_measures_every_engine_and_keeps_the_figures(tmp_path: Path) -> None:
    kept = tmp_path / "results.json"
    parts = [f"--part={part}" for part in ("speed", "start", "memory", "ops")]
    found = run("--quick", "--models=digits_int8", "--batch=2", "--threads=1", *parts, f"--json={kept}")
    assert found.returncode == 0, found.stderr
    results = Results.load(kept)
    (case,) = results.cases
    assert not case.failures
    assert set(case.timings) >= {OURS, REFERENCE, "litert-optimized", "xnnpack"}
    assert all(timing.calls >= QUICK.rounds for timing in case.timings.values())
    assert case.equal is True
    assert {start.engine for start in results.starts} >= {OURS, REFERENCE}
    assert all(0 < memory.after_import <= memory.after_one <= memory.after_many for memory in results.memory)
    assert sum(op.macs for op in results.ops[0].ops) > 0
    for title in (
        "Speed: ms per image",
        "Cold start and planning: ms",
        "Peak memory: MB",
        "Where the time of digits_int8 goes",
    ):
        assert f"## {title}\n" in found.stdout
    assert run("show", str(kept)).stdout == found.stdout
    again = run("--quick", "--models=digits_float32", "--part=calibration", "--resume", f"--json={kept}")
    assert again.returncode == 0, again.stderr
    more = Results.load(kept)
    assert dataclasses.replace(more, calibration=()) == results
    assert [(rate.model, rate.batch) for rate in more.calibration] == [("digits_float32", 1), ("digits_float32", 8)]


def test_going_on_needs_a_file_to_go_on_with() -> None:
    found = run("--resume")
    assert found.returncode == 2
    assert "--json FILE" in found.stderr


def test_a_model_that_does_not_exist_is_bad_usage() -> None:
    found = run("--models=no_such_model")
    assert found.returncode == 2
    assert "no_such_model" in found.stderr
    assert "Traceback" not in found.stderr


def results_with(ours: float, reference: float, *, memory: int = 100, equal: bool = True) -> Results:
    """Return results of one model with these seconds."""
    timings = {name: Timing(5, t, t, t, t) for name, t in ((OURS, ours), (REFERENCE, reference))}
    return Results(
        machine={},
        cases=(Case("kws", 1, 1, timings, {}, equal),),
        starts=(Start("kws", OURS, 1.0, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1),),
        memory=(Memory("kws", OURS, 50, 80, memory),),
        calibration=(Calibration("kws", 1, 20.0),),
    )


@pytest.mark.parametrize(
    ("after", "worse"),
    [
        (results_with(0.010, 0.100), []),
        (results_with(0.020, 0.200), []),  # a slower machine
        (results_with(0.012, 0.100), ["kws, batch 1, 1 threads: quantref"]),
        (results_with(0.010, 0.080), ["kws, batch 1, 1 threads: quantref"]),  # the machine was faster, quantref not
        (results_with(0.010, 0.100, memory=120), ["kws, quantref: peak memory"]),
        (results_with(0.010, 0.100, equal=False), ["kws, batch 1, 1 threads: unequal to litert-reference"]),
    ],
)
def test_what_became_worse_is_flagged(after: Results, worse: list[str]) -> None:
    changes = compare(results_with(0.010, 0.100), after)
    assert len(changes) == 6
    assert [change.what for change in changes if change.regressed(TOLERANCE)] == worse


def test_comparing_files_exits_with_1_where_something_became_worse(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    results_with(0.010, 0.100).save(before)
    results_with(0.020, 0.100).save(after)
    assert run("compare", str(before), str(before)).returncode == 0
    found = run("compare", str(before), str(after))
    assert found.returncode == 1
    assert found.stdout.startswith("worse  x2.00  kws, batch 1, 1 threads: quantref: 0.100 -> 0.200")


def test_results_survive_being_kept(tmp_path: Path) -> None:
    results = results_with(0.010, 0.100)
    point = Point("width", 0.5, results.cases[0])
    results = dataclasses.replace(results, curves=(point,))
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "machine": {}, "cases": [1]}'])
def test_a_file_that_is_not_a_run_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match="expected"):
        Results.load(path)


def test_every_figure_of_the_readme_comes_from_a_run() -> None:
    """The tables stand between two lines, so that writing them again replaces them."""
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert "|" not in text.partition(BEGIN)[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (123.4, "123"), (12.34, "12.3"), (0.5, "0.500"), (0.01234, "0.0123"), (1.234e-5, "0.0000123")],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert tables.number(value) == text


def test_channels_are_those_of_mobilenet_v2() -> None:
    assert [channels_of(channels, 0.35) for channels in (32, 16, 24, 64, 96, 160, 320)] == [16, 8, 8, 24, 32, 56, 112]
    assert [channels_of(channels, 1.4) for channels in (32, 16, 24, 64, 96, 160, 320)] == [
        48,
        24,
        32,
        88,
        136,
        224,
        448,
    ]


def test_synthetic_models_are_the_same_every_time() -> None:
    assert mobilenet_v2(0.35, 32) == mobilenet_v2(0.35, 32)


@pytest.mark.litert
def test_synthetic_models_are_lively_and_run_as_in_litert(litert: LiteRT) -> None:
    """Most codes are used, few saturate, and quantref gives what LiteRT gives."""
    model = mobilenet_v2(0.35, 32, classes=10)
    assert len(model.subgraphs[0].operators) == 65
    samples = random_samples(model, 2)
    assert compare_with_litert(model, samples, litert) == 20
    kept = litert.run(fbs.write(model), samples)[0].tensors
    for operator in model.subgraphs[0].operators[:4]:
        codes = kept[operator.outputs[0]]
        assert len(np.unique(codes)) > 64
        assert np.mean(codes == 127) < 0.1


def test_a_plot_has_a_line_an_engine_and_curve(tmp_path: Path) -> None:
    case = results_with(0.010, 0.100).cases[0]
    found = [Point("width", 0.5, case), Point("width", 1.0, case), Point("batch", 1, case)]
    path, again = tmp_path / "plot.svg", tmp_path / "again.svg"
    draw(found, path)
    draw(found, again)
    assert path.read_bytes() == again.read_bytes()
    root = ElementTree.parse(path).getroot()  # noqa: S314 - our own drawing
    words = {text for child in root.iter() if child.tag.endswith("text") for text in child.itertext()}
    assert words >= {"ms per image", "width", "batch size", "0.5", OURS, REFERENCE}


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    draw([Point("width", 0.5, Case("kws", 1, 1))], tmp_path / "plot.svg")
    assert not (tmp_path / "plot.svg").exists()


def test_the_curves_meet_in_a_point_that_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def fake(width: float, resolution: int, batch: int, engines: object, effort: object) -> Case:
        del engines, effort
        measured.append((width, resolution, batch))
        return Case("synthetic", batch, 1)

    monkeypatch.setattr(curves, "_measured", fake)
    found = [task() for task in curves.measurements([], FULL).values()]
    assert len(found) == len(curves.WIDTHS) + len(curves.RESOLUTIONS) + len(curves.BATCHES)
    assert len(measured) == len(set(measured)) == len(found) - 2
    assert (1.0, 224, 1) in measured


# --- Turns --------------------------------------------------------------------------------------------------------


class FakeProcess:
    """A process whose engines take as long as they are told, die or refuse."""

    log: ClassVar[list[str]] = []

    def __enter__(self) -> FakeProcess:
        self.log.append("start")
        return self

    def __exit__(self, *what: object) -> None:
        self.log.append("end")

    def open(self, engine: Engine, *what: object) -> None:
        """Load."""
        del what
        if engine.variant == "dies":
            raise RuntimeCrashed("dead")
        if engine.variant == "refuses":
            raise RuntimeRefused("no")

    def warm_up(self, engine: Engine) -> list[tuple[float, float]]:
        """Call once."""
        return [(float(engine.variant), float(engine.variant))]

    def calls(self, engine: Engine, seconds: float) -> list[tuple[float, float]]:
        """Call once."""
        self.log.append(engine.name)
        return [(float(engine.variant), float(engine.variant) - seconds)]

    def outputs(self, engine: Engine) -> list[np.ndarray]:
        """Return the same whatever the engine."""
        del engine
        return [np.zeros(3, np.int8)]


def engine(name: str, variant: str) -> Engine:
    return Engine(name, "fake", variant, 1, 1)


def test_engines_take_turns_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "Process", FakeProcess)
    monkeypatch.setattr(FakeProcess, "log", [])
    (model,) = models_at_hand(["digits_int8"])
    engines = [engine(OURS, "0.25"), engine("a", "dies"), engine("b", "refuses"), engine(REFERENCE, "0.5")]
    case = speed.measure(model, 1, 1, engines, QUICK)
    turns = [OURS, REFERENCE, REFERENCE, OURS, OURS, REFERENCE]
    assert FakeProcess.log == ["start", "start", *turns, "end", "end"]
    assert case.failures == {"a": "dead", "b": "no"}
    assert {name: timing.calls for name, timing in case.timings.items()} == {OURS: 3, REFERENCE: 3}
    assert case.timings[OURS].minimum == 0.25 - QUICK.turn
    assert case.equal is True


def test_a_slow_engine_has_the_fewest_calls_and_its_warm_up_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "Process", FakeProcess)
    (model,) = models_at_hand(["digits_int8"])
    effort = dataclasses.replace(QUICK, budget=0.0)
    case = speed.measure(model, 1, 1, [engine("quick", "0.1"), engine("slow", str(2 * SLOW))], effort)
    assert {name: timing.calls for name, timing in case.timings.items()} == {"quick": FEWEST, "slow": FEWEST}


# --- Going on -----------------------------------------------------------------------------------------------------


def test_a_run_goes_on_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "describe", lambda: {"commit": "abc"})
    monkeypatch.setattr(runs, "measure", lambda model, batch, threads, *_: Case(model.name, batch, threads))
    asked = runs.Asked(models_at_hand(["digits_int8"]), [1, 32], [1, 2], QUICK)
    kept: list[Results] = []
    whole = runs.run(["speed"], asked, None, kept.append)
    assert [(case.batch, case.threads) for case in whole.cases] == [(1, 1), (1, 2), (32, 1), (32, 2)]
    assert [len(results.cases) for results in kept] == [1, 2, 3, 4]
    partial = dataclasses.replace(whole, cases=whole.cases[1:3])
    assert sorted(runs.run(["speed"], asked, partial, kept.append).cases, key=repr) == sorted(whole.cases, key=repr)
    assert len(kept) == 6


def test_a_run_does_not_go_on_at_another_commit() -> None:
    known = Results({"commit": "long ago"})
    asked = runs.Asked([], [1], [1], QUICK)
    with pytest.raises(InputError, match="commit long ago"):
        runs.run(["speed"], asked, known, lambda _: None)


def test_other_profiles_are_measured_once_or_always(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(runs, "measure", lambda *what: seen.append(len(what[3])) or Case("kws", what[1], what[2]))
    for all_profiles in (False, True):
        asked = runs.Asked(models_at_hand(["digits_int8"]), [1, 32], [1], QUICK, all_profiles=all_profiles)
        runs.run(["speed"], asked, None, lambda _: None)
    most = max(seen)
    assert seen == [most, most - 6, most, most]


def test_full_runs_measure_more_than_quick_ones() -> None:
    assert all(getattr(FULL, field.name) > getattr(QUICK, field.name) for field in dataclasses.fields(FULL))


def test_the_worker_knows_nothing_of_quantref_until_told() -> None:
    """Import time and memory of an engine must not hold another's."""
    loads = "import sys; sys.argv = ['worker']; sys.path.insert(0, 'benchmarks'); import worker; worker._frames()"
    listed = f"{loads}; print(sorted(n for n in ('numpy', 'quantref', 'ai_edge_litert') if n in sys.modules))"
    found = subprocess.run([sys.executable, "-c", listed], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.replace("'", '"')) == []
