"""Where the time of a model goes: its ops, timed where they stand in a run, and the form that each takes."""

from __future__ import annotations

from typing import Any

from benchmarks.engines import Process, ours
from benchmarks.models import BenchmarkModel
from benchmarks.results import Ops, OpTime
from benchmarks.speed import Effort
from quantref import Interpreter

#: Runs that are timed.
RUNS = 15


def op_times(model: BenchmarkModel, effort: Effort) -> Ops:
    """Measure every op of a model in a child process, on one thread, batch 1."""
    engine = ours()
    with Process() as process:
        process.open(engine, model.path, model.inputs(), threads=1)
        process.warm_up(engine)
        whole = min(invoke for _, invoke in process.calls(engine, seconds=effort.turn, most=RUNS))
        rows = process.ask(engine, "ops", "time_ops")
    return Ops(model.name, whole, tuple(OpTime(**row) for row in rows))


def time_ops(interpreter: Interpreter) -> list[dict[str, Any]]:
    """Return the fields of :class:`OpTime` for every op of an interpreter whose inputs are set."""
    return [
        {
            "index": op.index,
            "op": op.name,
            "shape": op.shape,
            "macs": op.products,
            "seconds": op.fastest,
            "form": op.form,
        }
        for op in interpreter.profile_ops(RUNS).ops
    ]
