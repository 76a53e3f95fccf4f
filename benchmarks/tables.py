"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from benchmarks.engines import OURS, REFERENCE
from benchmarks.results import Case, Ops, Results
from quantref.runtimes import RUNTIMES

#: Ops of a model that its table lists one by one; the rest is summed by kind.
SLOWEST = 12
#: Load for each core beyond which a machine is called busy.
BUSY = 0.3


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table; the first ``left`` columns are text, the others numbers."""
    lines = ["| " + " | ".join(headings) + " |"]
    lines.append("|" + "|".join(["---"] * left + ["--:"] * (len(headings) - left)) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    """Return three significant digits, without an exponent; a dash for None."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:.0f}"
    return f"{Decimal(f'{value:.2e}'):f}"


def report(results: Results) -> str:
    """Return every table that there are figures for, each under a heading."""
    sections = [
        ("Speed: ms per image", _speed(results.cases)),
        ("Under other profiles: ms per image, and ratios to it", _profiles(results.cases)),
        ("With inputs set and outputs fetched: ms", _whole(results.cases)),
        ("Cold start and planning: ms", _starts(results)),
        ("Peak memory: MB", _memory(results)),
        ("Float32 images a second, observed as calibration does", _calibration(results)),
        *((f"Where the time of {ops.model} goes", _ops(ops)) for ops in results.ops),
        ("Scaling: ms per image", _curves(results)),
        ("Not measured", _failures(results.cases)),
    ]
    return "\n".join(f"## {title}\n\n{text}" for title, text in sections if text)


def machine(results: Results) -> str:
    """Return the machine and the versions in two lines."""
    at = results.machine
    versions = [f"{name} {at[name]}" for name in ("numpy", "ai-edge-litert", "flatbuffers", "tflite") if at.get(name)]
    busy = ": busy, so these figures say little" if (at["load"] or 0) > BUSY * at["cores"] else ""
    return (
        f"{at['date']}, {at['cores']} cores of {at['processor']}, {at['system']} {at['architecture']}, "
        f"load {at['load']} at the start{busy}.\n"
        f"quantref {at['quantref']} at {at['commit']}, Python {at['python']}, {', '.join(versions)}, "
        f"BLAS {at['blas']}.\n"
    )


def _speed(cases: Sequence[Case]) -> str:
    names = [OURS, *RUNTIMES]
    rows = [
        [
            case.model,
            str(case.batch),
            str(case.threads),
            *(_milliseconds(case, name) for name in names),
            *(number(case.ratio(OURS, name)) for name in RUNTIMES),
            {True: "yes", False: "NO", None: "-"}[case.equal],
        ]
        for case in cases
    ]
    headings = ["model", "batch", "threads", *names, *(f"÷ {name}" for name in RUNTIMES), "equal"]
    return markdown(headings, rows) if rows else ""


def _milliseconds(case: Case, engine: str) -> str:
    if engine not in case.timings:
        return "-"
    timing = case.timings[engine]
    return f"{number(timing.minimum / case.batch * 1e3)} ({number(timing.median / case.batch * 1e3)})"


def _profiles(cases: Sequence[Case]) -> str:
    names = list(dict.fromkeys(name for case in cases for name in case.timings if name.startswith(f"{OURS} ")))
    rows = [
        [case.model, _milliseconds(case, OURS), *(number(case.ratio(name, OURS)) for name in names)]
        for case in cases
        if any(name in case.timings for name in names)
    ]
    headings = ["model", REFERENCE, *(f"{name.removeprefix(OURS + ' ')} ÷" for name in names)]
    return markdown(headings, rows) if rows else ""


def _whole(cases: Sequence[Case]) -> str:
    rows = [
        [case.model, *(number(case.timings[name].whole_minimum * 1e3) for name in (OURS, *RUNTIMES))]
        for case in cases
        if case.batch == case.threads == 1 and all(name in case.timings for name in (OURS, *RUNTIMES))
    ]
    return markdown(["model", OURS, *RUNTIMES], rows) if rows else ""


def _starts(results: Results) -> str:
    rows = [
        [
            one.model,
            one.engine,
            *(number(part * 1e3) for part in (one.first_result, one.python, one.imports, one.load, one.first_call)),
            *(number(part * 1e3) for part in (one.planning, one.settled)),
        ]
        for one in results.starts
    ]
    parts = ["first result", "Python", "imports", "load", "first call", "planning", "settled"]
    return markdown(["model", "engine", *parts], rows, left=2) if rows else ""


def _memory(results: Results) -> str:
    rows = [
        [one.model, one.engine, *(f"{size / 1e6:.0f}" for size in (one.after_import, one.after_one, one.after_many))]
        for one in results.memory
    ]
    return markdown(["model", "engine", "imported", "after one call", "after many"], rows, left=2) if rows else ""


def _calibration(results: Results) -> str:
    rows = [[one.model, str(one.batch), number(one.images_a_second)] for one in results.calibration]
    return markdown(["model", "batch", "images / s"], rows) if rows else ""


def _ops(ops: Ops) -> str:
    total = sum(op.seconds for op in ops.ops)
    slowest = sorted(ops.ops, key=lambda op: op.seconds, reverse=True)[:SLOWEST]
    rows = [
        [
            f"{op.index} {op.op}",
            " x ".join(map(str, op.shape)),
            op.form,
            number(op.seconds * 1e3),
            _rate(op.macs, op.seconds),
        ]
        for op in slowest
    ]
    rest = [op for op in ops.ops if op not in slowest]
    for kind in dict.fromkeys(op.op for op in rest):
        same = [op for op in rest if op.op == kind]
        seconds = sum(op.seconds for op in same)
        rows.append(
            [f"{len(same)} more {kind}", "", "", number(seconds * 1e3), _rate(sum(op.macs for op in same), seconds)]
        )
    rows.append(["all ops", "", "", number(total * 1e3), ""])
    rows.append(["one invoke", "", "", number(ops.whole * 1e3), ""])
    return markdown(["op", "output", "form", "ms", "GMAC / s"], rows, left=3)


def _rate(macs: int, seconds: float) -> str:
    return number(macs / seconds / 1e9) if macs else ""


def _curves(results: Results) -> str:
    rows = [
        [point.curve, f"{point.value:g}", *(_milliseconds(point.case, name) for name in (OURS, *RUNTIMES))]
        for point in results.curves
    ]
    return markdown(["curve", "at", OURS, *RUNTIMES], rows, left=2) if rows else ""


def _failures(cases: Sequence[Case]) -> str:
    found = {(case.model, name): reason for case in cases for name, reason in case.failures.items()}
    rows = [[model, engine, reason.replace("|", "/")[:160]] for (model, engine), reason in found.items()]
    return markdown(["model", "engine", "why"], rows, left=3) if rows else ""
