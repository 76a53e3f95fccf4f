"""What a process costs before it is fast: cold start, planning, memory."""

from __future__ import annotations

from benchmarks.engines import Engine, Process
from benchmarks.models import BenchmarkModel
from benchmarks.results import Memory, Start
from benchmarks.speed import Effort

#: Calls of a process that runs a model "in a loop", and seconds after which it has run often enough.
MANY, LOOP = 20, 3.0


def start(model: BenchmarkModel, engine: Engine, effort: Effort) -> Start:
    """Start processes and let each run one image; the parts are those of the fastest.

    Planning is what all calls of the warm-up took beyond as many settled ones. It includes what any first call
    costs, such as memory touched for the first time.
    """
    inputs = model.inputs()
    found = []
    for _ in range(effort.processes):
        with Process() as process:
            opening = process.open(engine, model.path, inputs, threads=1)
            ((first, _),) = process.calls(engine)
            age = process.age()
            warming = [first, *(whole for whole, _ in process.calls(engine, engine.warm_up))]
            settled = min(whole for whole, _ in process.calls(engine, MANY // 4))
        found.append(
            Start(
                model=model.name,
                engine=engine.name,
                first_result=age,
                python=opening.start_seconds,
                imports=opening.import_seconds,
                load=opening.load_seconds,
                first_call=first,
                planning=max(0.0, sum(warming) - settled * len(warming)),
                settled=settled,
            )
        )
    return min(found, key=lambda one: one.first_result)


def memory(model: BenchmarkModel, engine: Engine) -> Memory:
    """Start a process, run a model once and then in a loop, and ask for its peak in between."""
    with Process() as process:
        empty = process.open(engine, model.path, model.inputs(), threads=1).memory
        process.calls(engine)
        once = process.peak_memory(engine)
        process.calls(engine, engine.warm_up, LOOP, MANY)
        return Memory(model.name, engine.name, empty, once, process.peak_memory(engine))
