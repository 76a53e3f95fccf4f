"""Where the time of a model goes: its ops, each run by itself on the inputs that it meets in the model."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.engines import Process, ours
from benchmarks.models import BenchmarkModel
from benchmarks.results import Ops, OpTime
from quantref import Interpreter
from quantref.op_times import count_products

#: Times an op is run, and the runs before that, in which its plan settles.
RUNS = 15
WARM_UP = 12


def op_times(model: BenchmarkModel) -> Ops:
    """Measure every op of a model in a child process, on one thread, batch 1."""
    with Process(ours()) as process:
        process.open(model.path, model.inputs(), threads=1)
        process.calls(process.engine.warm_up)
        whole = min(invoke for _, invoke in process.calls(RUNS))
        rows = process.ask("ops", "time_ops")
    return Ops(model.name, whole, tuple(OpTime(**row) for row in rows))


def time_ops(interpreter: Interpreter) -> list[dict[str, Any]]:
    """Run every op of an interpreter that was invoked; the fields of :class:`OpTime` for each."""
    graph = interpreter.model.subgraphs[0]
    rows = []
    for index, operator in enumerate(graph.operators):
        inputs = [None if number < 0 else interpreter.get_tensor(number) for number in operator.inputs]
        seconds = []
        for _ in range(WARM_UP + RUNS):
            start = time.perf_counter()
            outputs = interpreter.run_op(index, inputs)
            seconds.append(time.perf_counter() - start)
        shape = outputs[0].shape if outputs else ()
        row = {
            "index": index,
            "op": operator.name,
            "shape": shape,
            "macs": count_products(operator.name, inputs, shape),
        }
        rows.append({**row, "seconds": min(seconds[WARM_UP:])})
    return rows
