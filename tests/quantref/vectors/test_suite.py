"""Suites are read as they were written, and damage is found."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from qmath.errors import InputError
from quantref.npz import load_npz
from quantref.vectors import Suite, generate
from quantref.vectors.suite import join_invocations, split_invocations
from tests.quantref.vectors.plans import TINY, small


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(small(), tmp_path_factory.mktemp("suite") / "small").directory


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return generate(small(**TINY), tmp_path / "tiny").directory


def test_a_case_tells_what_it_is(folder: Path) -> None:
    case = Suite.open(folder).case("conv_2d-int8-x-int8-per-axis-int32-bias-0000")
    assert (case.op, case.dtypes, case.kind, case.expected_error) == ("CONV_2D", "int8", "op", None)
    assert case.profiles == ("litert-reference", "litert-optimized-arm64")
    assert "accumulator positive" in case.aims
    assert case.cell == "CONV_2D int8 x int8 per-axis int32 bias"
    note = json.loads(case.read("case.json"))
    assert note["coverage"]["litert-reference"]["accumulators_positive"] > 0
    assert pickle.loads(pickle.dumps(case)).model_bytes() == case.model_bytes()  # noqa: S301 - our own bytes


def test_cases_are_found_by_pattern(folder: Path) -> None:
    suite = Suite.open(folder)
    assert {case.op for case in suite.cases("ADD*") if case.kind == "op"} == {"ADD"}
    assert [case.id for case in suite.cases("model-*")] == ["model-digits_int8-0000"]
    assert {case.kind for case in suite.cases("NEGATIVE*")} == {"negative"}
    assert list(suite.cases("nothing")) == []
    with pytest.raises(InputError, match="expected the id"):
        suite.case("nothing")


def test_whole_models_hold_every_tensor(folder: Path) -> None:
    case = Suite.open(folder).case("model-digits_int8-0000")
    tensors = load_npz(folder / "cases/MODEL" / case.id / "tensors.litert-reference.npz")
    outputs = case.expected("litert-reference")[0]
    assert len(tensors) > len(outputs)
    for name, expected in outputs.items():
        np.testing.assert_array_equal(tensors[name], expected)


def test_negative_cases_name_an_error(folder: Path) -> None:
    negatives = [case for case in Suite.open(folder).cases() if case.kind == "negative"]
    assert {case.expected_error for case in negatives} == {"ModelError", "UnsupportedError"}
    assert all(case.profiles == () for case in negatives)
    with pytest.raises(InputError, match="expected a profile"):
        negatives[0].expected("litert-reference")


def test_a_device_gets_model_and_inputs(folder: Path, tmp_path: Path) -> None:
    case = next(case for case in Suite.open(folder).cases() if case.invocations > 1)
    place = case.export(tmp_path / "device")
    assert (place / "model.tflite").read_bytes() == case.model_bytes()
    keys = load_npz(place / "inputs.npz")
    assert {key.split("/")[0] for key in keys} == {str(number) for number in range(case.invocations)}


def test_invocations_in_one_archive() -> None:
    one = ({"a/b": np.arange(3)},)
    two = ({"0/x": np.arange(3)}, {"0/x": np.arange(4)})
    for given in (one, two):
        (arrays,) = [split_invocations(load(join_invocations(given)), len(given))]
        assert [set(found) for found in arrays] == [set(arrays) for arrays in given]
        assert all(np.array_equal(a[k], b[k]) for a, b in zip(arrays, given, strict=True) for k in b)
    with pytest.raises(InputError, match="expected keys 0/NAME to 1/NAME"):
        split_invocations({"2/x": np.arange(3)}, 2)


def load(content: bytes) -> dict[str, np.ndarray]:
    from quantref.npz import parse_npz  # noqa: PLC0415 - beside its one use

    return parse_npz(content, "here")


def test_stages_on_request(tmp_path: Path) -> None:
    suite = generate(small(**TINY, stages=True), tmp_path / "suite")
    stages = suite.case("add-int8-0000").stages("litert-reference")
    assert "0/op/000:ADD/stage/00:input 1: shifted" in {
        key.replace("zero point subtracted", "shifted") for key in stages
    }
    with pytest.raises(InputError, match="expected a file among"):
        suite.case("add-int8-0000").stages("xnnpack")


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_damaged_case_is_found(tiny: Path) -> None:
    suite = Suite.open(tiny)
    assert suite.verify() == 4
    damage(next(tiny.rglob("expected.*.npz")))
    with pytest.raises(InputError, match="sha256"):
        suite.verify()


@pytest.mark.parametrize("name", ["index.jsonl", "manifest.json"])
def test_a_damaged_index_or_manifest_is_found(tiny: Path, name: str) -> None:
    damage(tiny / name)
    if name == "manifest.json":
        (tiny / name).write_text((tiny / name).read_text(errors="replace")[:-20])
    with pytest.raises(InputError, match=name.split(".", maxsplit=1)[0]):
        Suite.open(tiny)


def test_a_missing_file_is_found(tiny: Path) -> None:
    next(tiny.rglob("model.tflite")).unlink()
    with pytest.raises(InputError, match=r"model\.tflite"):
        Suite.open(tiny).verify()


def test_another_version_is_refused(tiny: Path) -> None:
    text = (tiny / "manifest.json").read_text()
    (tiny / "manifest.json").write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(InputError, match="version 1"):
        Suite.open(tiny)


def test_a_line_that_points_outside_is_refused(tiny: Path) -> None:
    from quantref.vectors.entries import Entry  # noqa: PLC0415 - beside its one use

    line = (tiny / "index.jsonl").read_text().splitlines()[0]
    with pytest.raises(InputError, match="inside the suite"):
        Entry.from_line(line.replace('"path":"cases', '"path":"../cases'), "here")
