"""The long comparison with a runtime: many tie-rich and edge-rich elements for every cell of the support table.

``python -m tests.sweep --elements 100000 --jobs 2 --record sweep.json`` runs every cell, a process a job, and prints
the table: cell, cases, elements, mismatches. It takes long, so it is not part of the test run; results are written as
they come, and a run that was stopped goes on where it was. ``--cells 'CONV*'`` takes some cells only. With
``--evidence quantref/data/verified.json`` what was found becomes what ``quantref profiles show`` tells of the profile.

A case is compared three times: what the runtime gives, what quantref's compiled form gives (the quick and the settled
one), and what its literal definition gives. If the runtime refuses a case, quantref must refuse it too, and the other
way round. A case on which the runtime dies is counted, and compared with nothing. A cell of which nothing could be
compared was not run, and is never evidence.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import os
import pkgutil
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import fbs
import quantref
from kernels.engine.planes import PlaneSum
from kernels.engine.registry import registry
from kernels.engine.requantized import RequantizedSum
from kernels.engine.types import Outputs
from qmath.errors import QuantrefError
from qmath.stages import silent
from qmath.types import Array
from quantref.difference import Difference, difference
from quantref.execution import RUNS_UNTIL_LAID_OUT
from quantref.runtimes import LiteRT, RuntimeCrashed, RuntimeRefused, RuntimeTimedOut
from quantref.vectors import cells
from quantref.vectors.cells.case import Case, Generator

#: What cases are compared with unless they say otherwise.
REFERENCE = "litert-reference"
#: A cell ends here, or after the seconds asked for, even if its cases are too small to give the elements asked for.
MAX_CASES, MAX_SECONDS = 40_000, 300.0
#: A cell of which nothing could be compared in so many cases, because the runtime refuses them or dies, is given up.
HOPELESS = 100
#: Cells whose results, but for the reference kernels', depend on the shapes of earlier samples (``docs/profiles.md``):
#: each of their samples is compared in an interpreter of its own.
REMEMBERS = "FULLY_CONNECTED hybrid int4*"


@dataclass
class Result:
    """What became of one cell."""

    cell: str
    runtime: str = ""
    cases: int = 0
    elements: int = 0
    mismatches: int = 0
    refused_by_both: int = 0
    refused_by_one: int = 0
    runtime_died: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether something was compared and nothing differed."""
        return self.elements > 0 and self.mismatches == 0 and self.refused_by_one == 0

    def suffices(self, elements: int) -> bool:
        """Whether a run that is taken up again need not look at the cell."""
        return self.not_run or (self.clean and self.elements >= elements)

    @property
    def not_run(self) -> bool:
        """Whether the runtime refused every case, or died of it."""
        return self.cases > 0 and self.refused_by_both + self.runtime_died == self.cases


def all_cells() -> dict[str, Generator]:
    """Return the case generator of every cell."""
    found: dict[str, Generator] = {}
    for module in pkgutil.iter_modules(cells.__path__):
        found.update(getattr(importlib.import_module(f"quantref.vectors.cells.{module.name}"), "CELLS", {}))
    return found


def sweep_cell(
    cell: str, elements: int, runtime: str, profile: str, seconds: float = MAX_SECONDS, seed: int = 0
) -> Result:
    """Compare cases of one cell until enough elements were seen; another seed gives other cases."""
    generate, entropy = all_cells()[cell], [zlib.crc32(cell.encode()), *([seed] if seed else [])]
    # A few ops have no reference kernel: their cases name the runtime whose kernel is taken for it.
    if runtime == REFERENCE:
        runtime = next(generate(np.random.default_rng(entropy))).runtime
    rng = np.random.default_rng(entropy)
    litert = running(runtime)
    result, start = Result(cell, f"{runtime}, {litert.version}"), time.monotonic()
    for case in generate(rng):
        _compare(case, litert, profile, result)
        result.seconds = round(time.monotonic() - start, 1)
        if result.elements >= elements or result.cases >= MAX_CASES or result.seconds > seconds:
            return result
        if result.not_run and result.cases >= HOPELESS:
            return result
    return result


@cache
def running(runtime: str) -> LiteRT:
    """Return a runtime that serves all that this process compares; in an emulator it takes seconds to start."""
    return LiteRT(runtime)


def _compare(case: Case, litert: LiteRT, profile: str, result: Result) -> None:
    result.cases += 1
    content, samples = fbs.write(case.model), case.ordered()
    alone = litert.runtime.profile != REFERENCE and fnmatch.fnmatch(case.cell, REMEMBERS)
    runs = [[sample] for sample in samples] if alone else [samples]
    try:
        answers = (answer for run in runs for answer in litert.run(content, run, all_tensors=False, resize=True))
        theirs = [answer.outputs for answer in answers]
        refusal = None
    except RuntimeRefused as error:
        theirs, refusal = [], error
    except (RuntimeCrashed, RuntimeTimedOut):
        result.runtime_died += 1
        return
    try:
        ours = [forms for run in runs for forms in _ours(content, run, profile)]
    except QuantrefError as error:
        if refusal is not None:
            result.refused_by_both += 1
        else:
            result.refused_by_one += 1
            _remember(result, f"case {result.cases}: only quantref refuses: {error}")
        return
    if refusal is not None:
        result.refused_by_one += 1
        _remember(result, f"case {result.cases}: only the runtime refuses: {refusal}")
        return
    total = Difference()
    for number, (expected, forms) in enumerate(zip(theirs, ours, strict=True)):
        for name, outputs in forms.items():
            found = sum(
                (difference(*pair, sample=number) for pair in zip(expected, outputs, strict=True)), Difference()
            )
            if found.mismatches:
                _remember(result, f"case {result.cases}: {name}: {found.mismatches} of {found.elements}: {found.first}")
            total += found if name == "compiled" else Difference(0, found.mismatches)
    result.elements += total.elements
    result.mismatches += total.mismatches


def _remember(result: Result, note: str) -> None:
    if len(result.notes) < 5:
        result.notes.append(note)


def _ours(content: bytes, samples: Sequence[Sequence[Array]], profile: str) -> list[dict[str, Outputs]]:
    """Return for each sample what each of quantref's forms gives.

    Models with state have the compiled form only, and so have ops that the interpreter runs itself: control flow.
    """
    interpreter = quantref.Interpreter(content, profile)
    graph = interpreter.graph
    found: list[dict[str, Outputs]] = []
    operators = graph.subgraph.operators
    single = len(operators) == 1 and operators[0].name in registry()
    single = single and not any(tensor.is_variable for tensor in graph.subgraph.tensors)
    for sample in samples:
        for index, value in zip(graph.subgraph.inputs, sample, strict=True):
            current = graph.values[index]
            if value.shape != (graph.subgraph.tensors[index].shape if current is None else current.shape):
                interpreter.resize_tensor_input(index, value.shape)
        interpreter.allocate_tensors()
        for index, value in zip(graph.subgraph.inputs, sample, strict=True):
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        forms = {"compiled": tuple(interpreter.get_tensor(index) for index in graph.subgraph.outputs)}
        if single and operators[0].outputs == graph.subgraph.outputs:
            inputs = [None if index < 0 else graph.value(index) for index in operators[0].inputs]
            forms["definition"] = interpreter.evaluate_op(0, inputs, silent)
            runner = graph.step(0, inputs).run
            if isinstance(runner, RequantizedSum):
                runner.settle()
                forms["settled"] = interpreter.run_op(0, inputs)
            if isinstance(runner, RequantizedSum | PlaneSum):
                for _ in range(1 if graph.is_laid_out else RUNS_UNTIL_LAID_OUT + 1):
                    interpreter.invoke()
                forms["laid out"] = tuple(interpreter.get_tensor(index) for index in graph.subgraph.outputs)
        found.append(forms)
    return found


def sweep(
    names: Sequence[str],
    elements: int,
    runtime: str,
    profile: str,
    jobs: int,
    record: Path | None,
    seconds: float = MAX_SECONDS,
    seed: int = 0,
) -> Iterator[Result]:
    """Yield the result of each cell, those recorded before first."""
    done = _recorded(record)
    kept = [name for name in names if name in done and done[name].suffices(elements)]
    yield from (done[name] for name in kept)
    todo = [name for name in names if name not in kept]
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(sweep_cell, name, elements, runtime, profile, seconds, seed) for name in todo]
        for future in as_completed(futures):
            result = future.result()
            done[result.cell] = result
            if record is not None:
                _write(record, done)
            yield result


def _recorded(record: Path | None) -> dict[str, Result]:
    if record is None or not record.exists():
        return {}
    return {entry["cell"]: Result(**entry) for entry in json.loads(record.read_text())["cells"]}


def _write(record: Path, results: dict[str, Result]) -> None:
    entries = [asdict(results[name]) for name in sorted(results)]
    draft = record.with_suffix(".part")
    draft.write_text(json.dumps({"cells": entries}, indent=1) + "\n")
    draft.replace(record)


def add_evidence(path: Path, profile: str, results: Iterable[Result]) -> None:
    """Put results into a file of evidence, in place of what it says of the same cells under a profile.

    Cells that were not run are taken out: the file holds what was compared, and nothing else.
    """
    known = json.loads(path.read_text()) if path.exists() else {}
    entries = {entry["cell"]: entry for entry in known.get(profile, [])}
    for result in results:
        numbers = {"elements": result.elements, "mismatches": result.mismatches}
        entries[result.cell] = {"cell": result.cell, **numbers, "runtime": result.runtime}
    known[profile] = [entries[cell] for cell in sorted(entries) if entries[cell]["elements"] > 0]
    path.write_text(json.dumps({name: known[name] for name in sorted(known)}, indent=1) + "\n")


def main() -> int:
    """Run the sweep; the exit code is 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", default=["*"], help="shell patterns of cells, such as 'CONV_2D int8*'")
    parser.add_argument("--elements", type=int, default=100_000, help="elements a cell")
    parser.add_argument("--seconds", type=float, default=MAX_SECONDS, help="a cell ends after so long, however few")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="processes")
    parser.add_argument("--seed", type=int, default=0, help="of the cases; a record holds those of one seed")
    parser.add_argument("--runtime", default="litert-reference", help="runtime to compare with")
    parser.add_argument("--profile", help="quantref's profile; by default the runtime's")
    parser.add_argument("--record", type=Path, help="JSON file that keeps results, and is taken up again")
    parser.add_argument("--evidence", type=Path, help="JSON file in which the results of these cells are replaced")
    arguments = parser.parse_args()
    names = list(
        dict.fromkeys(name for pattern in arguments.cells for name in fnmatch.filter(sorted(all_cells()), pattern))
    )
    profile = arguments.profile or arguments.runtime
    table = Table("cell", "cases", "elements", "mismatches", "refused by both", "by one", "runtime died", "seconds")
    counts: Counter[str] = Counter()
    results: list[Result] = []
    console = Console(width=160 if not sys.stdout.isatty() else None)
    choices = (arguments.runtime, profile, arguments.jobs, arguments.record, arguments.seconds, arguments.seed)
    for result in sweep(names, arguments.elements, *choices):
        numbers = (result.cases, result.elements, result.mismatches, result.refused_by_both)
        rest = (result.refused_by_one, result.runtime_died, result.seconds)
        fine = result.clean or result.not_run
        table.add_row(result.cell, *(f"{number:,}" for number in (*numbers, *rest)), style=None if fine else "bold red")
        for note in result.notes:
            console.print(f"{result.cell}: {note}", highlight=False)
        counts.update(cells=1, elements=result.elements, mismatches=result.mismatches)
        counts.update(not_run=result.not_run, differing=not fine)
        results.append(result)
    console.print(table)
    found = f"{counts['cells']} cells, {counts['elements']:,} elements, {counts['mismatches']:,} mismatches"
    console.print(f"{found}; not run, since the runtime refuses every case or dies: {counts['not_run']} cells")
    if arguments.evidence is not None:
        add_evidence(arguments.evidence, profile, results)
    return 1 if counts["differing"] or not counts["elements"] else 0


if __name__ == "__main__":
    sys.exit(main())
