"""Measures the highest version of each builtin operator that LiteRT's resolvers know, and prints the table.

``python docs/measure_versions.py > quantref/data/op_versions.json``. A model of one op that does nothing is loaded for
each version; the resolver's own complaint, "Didn't find op", says where it ends. Each load is a process of its own,
because some ops abort it.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from importlib.metadata import version

import tflite

import fbs
from qmath.types import DType

RESOLVERS = {"litert-reference": "BUILTIN_REF", "litert-optimized": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}
HIGHEST = 16


def one_op(name: str, op_version: int) -> bytes:
    """Return a model of one op of a version; whether it could run does not matter."""
    builder = fbs.Builder()
    x = builder.input("x", DType.FLOAT32, (1,))
    y = builder.tensor("y", DType.FLOAT32, (1,))
    builder.op(name, [x], [y], version=op_version)
    return fbs.write(builder.finish(outputs=[y]))


def load(models: list[bytes], resolver: str, answers: multiprocessing.Queue[tuple[int, bool]]) -> None:
    """Load models one after the other; say for each whether the resolver has its op."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: PLC0415 - in the child alone

    def knows(model: bytes) -> bool:
        try:
            Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType[resolver])
        except (RuntimeError, ValueError) as error:
            return "Didn't find op" not in str(error)
        return True

    for number, model in enumerate(models):
        answers.put((number, knows(model)))


def highest_version(name: str, resolver: str) -> int:
    """Return the highest version of an op that a resolver has, 0 if it lacks the op."""
    models = [one_op(name, op_version) for op_version in range(1, HIGHEST + 1)]
    answers: multiprocessing.Queue[tuple[int, bool]] = multiprocessing.Queue()
    child = multiprocessing.Process(target=load, args=(models, resolver, answers))
    child.start()
    child.join(60)
    found: dict[int, bool] = {}
    while not answers.empty():
        number, known = answers.get()
        found[number + 1] = known
    return max((op_version for op_version, known in found.items() if known), default=0)


def main() -> None:
    """Print the table as JSON."""
    operators = sorted(name for name in vars(tflite.BuiltinOperator) if name.isupper() and name != "CUSTOM")
    table = {name: {key: highest_version(name, value) for key, value in RESOLVERS.items()} for name in operators}
    known = {name: entry for name, entry in table.items() if any(entry.values())}
    json.dump({"runtime": f"ai-edge-litert {version('ai-edge-litert')}", "ops": known}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
