"""Whole models against a runtime, every tensor: ``python -m tests.models --jobs 2 'converter/*int8*'``.

Verifies each ``.tflite`` of ``../shared/converter`` and ``../shared/models`` whose path fits a shell pattern, each op
fed with the runtime's own tensors, and prints the table: file, ops, integer elements and mismatches, float elements and
mismatches (beyond 1e-5), the outputs end to end, and what happened. It takes minutes, so it is not part of the test
run; with ``--record F`` results are written as they come, and files that were clean are not run again.

A file is clean if everything that was compared matches and everything could be compared, or if the runtime itself does
not run it. The exit code is 1 if a file is not clean.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

import quantref
from qmath.errors import QuantrefError
from quantref.runtimes.table import ALL_RUNTIMES
from quantref.verification import Death, VerifyResult
from tests.sweep import running

SHARED = Path(__file__).resolve().parents[2] / "shared"
FOLDERS = ("converter", "models")
#: Seconds that a runtime has for one sample.
TIMEOUT = 120.0


@dataclass
class Result:
    """What became of one file; integer and float elements are those of the ops, each fed with the runtime's inputs."""

    file: str
    runtime: str
    samples: int
    verdict: str = ""
    version: str = ""
    ops: int = 0
    integers: int = 0
    integer_mismatches: int = 0
    floats: int = 0
    float_mismatches: int = 0
    end_to_end: int = 0
    end_to_end_mismatches: int = 0
    clean: bool = False
    notes: list[str] = field(default_factory=list)


def model_files(pattern: str = "*", shared: Path = SHARED) -> list[str]:
    """Return the paths below the shared folder of the models that fit a shell pattern; ``*`` reaches into folders."""
    found = (path for folder in FOLDERS for path in sorted((shared / folder).rglob("*.tflite")))
    names = (str(path.relative_to(shared)) for path in found)
    return [name for name in names if fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, f"*{pattern}*")]


def verify_file(file: str, runtime: str, profile: str, samples: int, shared: Path = SHARED) -> Result:
    """Verify one file; what quantref refuses outright is a verdict, too."""
    result = Result(file, runtime, samples)
    try:
        found = quantref.verify(shared / file, running(runtime), profile, samples=samples, timeout=TIMEOUT)
    except QuantrefError as error:
        result.verdict, result.notes = "quantref refuses", [str(error)]
        return result
    _count(result, found)
    # A runtime that does not run the model leaves nothing to compare with; one that dies on the way leaves the rest.
    result.clean = found.equal or (found.death is not None and found.total.mismatches == 0)
    result.verdict = "equal" if found.equal else _verdict(found)
    result.notes = _notes(found)
    left_out = [op for op in found.ops if op.not_compared.startswith("quantref")]
    result.clean = result.clean and not left_out
    return result


def _count(result: Result, found: VerifyResult) -> None:
    result.version, result.ops = found.runtime_version, len(found.ops)
    for op in found.ops:
        if op.difference.relative is None:
            result.integers += op.difference.elements
            result.integer_mismatches += op.difference.mismatches
        else:
            result.floats += op.difference.elements
            result.float_mismatches += op.difference.mismatches
    result.end_to_end, result.end_to_end_mismatches = found.end_to_end.elements, found.end_to_end.mismatches


def _verdict(found: VerifyResult) -> str:
    if found.death is not None:
        words = f"the runtime {found.death.ending.value}"
        return f"{words}; so does quantref" if found.refusal else words
    if found.refusal:
        return "quantref refuses"
    if found.total.mismatches:
        return "ops differ"
    return "differs end to end" if found.end_to_end.mismatches else "nothing was compared"


def _notes(found: VerifyResult) -> list[str]:
    notes = [] if found.death is None else [_death(found.death)]
    notes += [f"quantref: {found.refusal}"] if found.refusal else []
    notes += [
        f"op {op.index} {op.name} {op.types}: {op.difference.mismatches} of {op.difference.elements}: "
        f"{op.difference.first}"
        for op in found.ops
        if op.difference.mismatches
    ]
    notes += [
        f"op {op.index} {op.name} {op.types}: not compared: {op.not_compared}" for op in found.ops if op.not_compared
    ]
    if found.end_to_end.mismatches:
        notes.append(f"end to end: {found.end_to_end.mismatches} of {found.end_to_end.elements}")
    return notes[:8]


def _death(death: Death) -> str:
    return f"the runtime {death}"[:400]


def verify_files(
    files: Sequence[str], runtime: str, profile: str, samples: int, jobs: int, record: Path | None
) -> Iterator[Result]:
    """Yield the result of each file, those recorded as clean before first."""
    kept = _recorded(record)
    done = {file: kept[runtime, file] for file in files if (runtime, file) in kept}
    done = {file: result for file, result in done.items() if result.clean and result.samples >= samples}
    yield from done.values()
    with ProcessPoolExecutor(jobs) as pool:
        todo = [file for file in files if file not in done]
        for future in as_completed([pool.submit(verify_file, file, runtime, profile, samples) for file in todo]):
            result = future.result()
            kept[runtime, result.file] = result
            if record is not None:
                _write(record, kept)
            yield result


def _recorded(record: Path | None) -> dict[tuple[str, str], Result]:
    if record is None or not record.exists():
        return {}
    results = (Result(**entry) for entry in json.loads(record.read_text())["models"])
    return {(result.runtime, result.file): result for result in results}


def _write(record: Path, results: dict[tuple[str, str], Result]) -> None:
    draft = record.with_suffix(".part")
    draft.write_text(json.dumps({"models": [asdict(results[key]) for key in sorted(results)]}, indent=1) + "\n")
    draft.replace(record)


def main() -> int:
    """Verify and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern of paths, such as 'converter/edge.*'")
    parser.add_argument("--runtime", choices=list(ALL_RUNTIMES), default="litert-reference", help="compare with this")
    parser.add_argument("--profile", help="quantref's profile; by default the runtime's")
    parser.add_argument("--samples", type=int, default=20, help="random samples a file")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--record", type=Path, help="JSON file that keeps results, and is taken up again")
    arguments = parser.parse_args()
    profile = arguments.profile or ALL_RUNTIMES[arguments.runtime].profile
    table = Table("file", "ops", "integers", "mismatches", "floats", "mismatches", "end to end", "differ", "verdict")
    console, totals = Console(width=160 if not sys.stdout.isatty() else None), Counter[str]()
    choices = (arguments.runtime, profile, arguments.samples, arguments.jobs, arguments.record)
    for result in verify_files(model_files(arguments.pattern), *choices):
        numbers = (result.ops, result.integers, result.integer_mismatches, result.floats, result.float_mismatches)
        ends = (result.end_to_end, result.end_to_end_mismatches)
        cells = (result.file, *(f"{number:,}" for number in (*numbers, *ends)), result.verdict)
        table.add_row(*cells, style=None if result.clean else "bold red")
        for note in result.notes:
            console.print(f"{result.file}: {note}", highlight=False, markup=False, soft_wrap=True)
        totals.update(files=1, clean=int(result.clean), equal=int(result.verdict == "equal"), integers=result.integers)
        totals.update(wrong=result.integer_mismatches, floats=result.floats, wrong_floats=result.float_mismatches)
    console.print(table)
    console.print(
        f"{totals['files']} files against {arguments.runtime}: {totals['equal']} equal, {totals['clean']} clean; "
        f"{totals['integers']:,} integer elements, {totals['wrong']:,} mismatches; "
        f"{totals['floats']:,} float elements, {totals['wrong_floats']:,} mismatches"
    )
    return 0 if totals["files"] == totals["clean"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
