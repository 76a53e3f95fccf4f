"""Small suites on disk for the tests of conformance runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

import fbs
from qmath.types import Array
from quantref.conform.runners import run_quantref
from quantref.conform.trial import Trial
from quantref.names import tensor_keys
from quantref.samples import random_samples
from quantref.vectors.cells import add, conv, mul
from quantref.vectors.entries import Entry, Manifest, StoredFile
from quantref.vectors.suite import INDEX, INPUTS, MANIFEST, MODEL, Suite, join_invocations
from tests.quantref.small_models import two_layers, with_state

PROFILES = ("litert-reference", "litert-optimized", "xnnpack")


@dataclass(frozen=True)
class Made:
    """A case to put into a suite."""

    id: str
    op: str
    model: bytes
    inputs: tuple[Mapping[str, Array], ...]
    dtypes: str = "int8"
    kind: str = "op"
    aims: tuple[str, ...] = ()
    expected_error: str | None = None

    def outputs(self, profile: str) -> tuple[Mapping[str, Array], ...]:
        """What quantref gives."""
        return tuple(run_quantref(self.model, self.inputs, profile))

    def trial(self, profile: str = "litert-reference", profiles: Sequence[str] = PROFILES) -> Trial:
        """Return the case as a runner sees it, without a suite."""
        expectations = {} if self.kind == "negative" else {name: self.outputs(name) for name in profiles}
        fields = (self.id, self.op, self.dtypes, self.kind, self.aims, self.model, self.inputs)
        return Trial(*fields, profile, expectations, self.expected_error)


def of_cell(cell: str, count: int, seed: int = 7) -> list[Made]:
    """Return the first cases of a cell of ADD, MUL or CONV_2D."""
    generators = {**add.CELLS, **mul.CELLS, **conv.CELLS}
    op = cell.split(maxsplit=1)[0]
    cases = islice(generators[cell](np.random.default_rng(seed)), count)
    name = cell.replace("_", "-").replace(" ", "-").lower()
    return [
        Made(f"{name}-{number:04}", op, fbs.write(case.model), tuple(case.samples)) for number, case in enumerate(cases)
    ]


def of_model(name: str, op: str, model: fbs.Model, samples: int, kind: str = "op") -> Made:
    """Return a case of a model, with random inputs."""
    graph = model.subgraphs[0]
    keys = tensor_keys(graph)
    inputs = tuple(
        {keys[index]: array for index, array in zip(graph.inputs, sample, strict=True)}
        for sample in random_samples(model, samples)
    )
    return Made(name, op, fbs.write(model), inputs, kind=kind)


def mixed() -> list[Made]:
    """Return a few cases of every kind: ops, one with state, a whole model, and one that has to be refused."""
    return [
        *of_cell("ADD int8", 4),
        *of_cell("CONV_2D int8 x int8 per-axis int32 bias", 4),
        of_model("svdf-0000", "SVDF", with_state(), 3),
        of_model("layers", "MODEL", two_layers(), 1, kind="model"),
        Made("garbage", "NEGATIVE", b"no model at all", (), "", "negative", expected_error="ModelError"),
    ]


def write_suite(directory: Path, cases: Iterable[Made], profiles: Sequence[str] = PROFILES) -> Suite:
    """Write cases, with quantref's own outputs as those expected."""
    lines = [_write_case(directory, case, profiles).to_line() for case in cases]
    index = "".join(lines).encode()
    (directory / INDEX).write_bytes(index)
    digest = hashlib.sha256(index).hexdigest()
    made = Manifest("test", "", 0, "", "", "", "folders", ("npz",), tuple(profiles), len(lines), 0, {}, digest)
    (directory / MANIFEST).write_text(json.dumps(made.to_json()))
    return Suite.open(directory)


def _write_case(directory: Path, case: Made, profiles: Sequence[str]) -> Entry:
    folder = directory / "cases" / case.id
    folder.mkdir(parents=True)
    contents = {MODEL: case.model, INPUTS: join_invocations(case.inputs)}
    names: dict[str, str] = {}
    for profile in profiles if case.kind != "negative" else ():
        names[profile] = f"{profile}.npz"
        contents[names[profile]] = join_invocations(case.outputs(profile))
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return Entry(
        case.id,
        case.op,
        f"{case.op} {case.dtypes}",
        case.dtypes,
        case.kind,
        len(case.inputs),
        names,
        case.aims,
        case.expected_error,
        f"cases/{case.id}",
        {name: StoredFile(hashlib.sha256(content).hexdigest(), len(content)) for name, content in contents.items()},
    )
