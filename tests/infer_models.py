"""Does infer name the right profile? On whole models and the runtimes at hand: ``python -m tests.infer_models``.

For each quantized model of ``../shared/models`` and each runtime: what the runtime gives for random inputs, with every
tensor, with the outputs alone, and with one op of another runtime mixed in. The runtimes are LiteRT's three of this
machine, those of its Arm wheel if that is set up, and TFLite Micro's stored outputs in ``../shared/goldens-models``.
A row is right if the runtime's own profile explains everything, and every profile that is named with it agrees with it
there, which is what infer itself has compared; or if it says why it cannot tell: floats that drift, or an op that has
no defined result. A mixed row is right if just the op that was exchanged is pointed at (in one of the readings, where
several profiles need but one op of another), or if some profile gives just this mixture. The exit code is 1 if a row is
wrong.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import fbs
import quantref as qr
from kernels.profiles import PROFILES
from qmath.errors import QuantrefError
from qmath.types import Array
from quantref.difference import difference
from quantref.inference import InferResult, Verdict
from quantref.inference.dump import Dump, Invocation, read_dump
from quantref.inference.infer import infer, run_runtime
from quantref.npz import load_npz
from quantref.runtimes import ALL_RUNTIMES, LiteRT, Runtime
from quantref.samples import random_samples

SHARED = Path(__file__).resolve().parents[2] / "shared"
#: Stored outputs of TFLite Micro, by the model that they are of.
STORED = {
    "mlperf-tiny/ad01_int8": "mlperf_ad01_int8",
    "mlperf-tiny/kws_int8": "mlperf_kws",
    "mlperf-tiny/resnet8_int8": "mlperf_resnet8_quant",
    "mlperf-tiny/streaming_wakeword_int8": "mlperf_str_ww",
    "mlperf-tiny/vww96_int8": "mlperf_vww_96_int8",
    "tflm/hello_world_int8": "tflm_hello_world_int8",
    "tflm/keyword_scrambled_int8": "tflm_keyword_scrambled_8bit",
    "tflm/micro_speech_int8": "tflm_micro_speech_quantized",
    "tflm/person_detect_int8": "tflm_person_detect",
}
#: Which runtime lends an op to a dump of another.
LENDER = {"xnnpack": "litert-optimized", "xnnpack-arm64": "litert-optimized-arm64"}


@dataclass(frozen=True, slots=True)
class Row:
    """One inference: of which dump, what it should say, and what it said."""

    model: str
    source: str
    known: str
    expected: str
    found: str
    elements: int
    right: bool
    seconds: float


def models(pattern: str, shared: Path = SHARED) -> list[str]:
    """Return the quantized models that fit a shell pattern, small files first; ``../converter/*`` fits others."""
    folder = "converter" if pattern.startswith("../converter/") else "models"
    paths = sorted((shared / folder).rglob("*.tflite"), key=lambda path: path.stat().st_size)
    names = [path.relative_to(shared / folder).as_posix().removesuffix(".tflite") for path in paths]
    wanted = pattern.removeprefix("../converter/")
    chosen = [name for name in names if not name.endswith("float32") and fnmatch.fnmatch(name, wanted)]
    return [f"../converter/{name}" if folder == "converter" else name for name in chosen]


def rows_of_runtime(name: str, runtime: Runtime, samples: int, *, mixed: bool) -> Iterator[Row]:
    """Yield the rows of one model and one installed runtime."""
    model = qr.load(SHARED / "models" / f"{name}.tflite")
    dump = run_runtime(model, runtime, random_samples(model, samples, seed=77), timeout=600)
    yield _row(name, runtime.name, "every tensor", dump, runtime.profile)
    yield _row(name, runtime.name, "outputs", outputs_alone(dump), runtime.profile)
    if mixed:
        lender = ALL_RUNTIMES[LENDER.get(runtime.name, "xnnpack")]
        exchanged = exchange(dump, runtime, lender)
        if exchanged is not None:
            index, other = exchanged
            yield _mixed_row(name, f"{runtime.name}, op {index} of {lender.name}", other, index, lender.profile)


def rows_of_goldens(name: str) -> Iterator[Row]:
    """Yield the rows of one model and TFLite Micro's stored outputs."""
    model = qr.load(SHARED / "models" / f"{name}.tflite")
    folder = SHARED / "goldens-models"
    for known, suffix in (("outputs", ""), ("every tensor", "__tensors")):
        stored = load_npz(folder / f"{STORED[name]}{suffix}.npz")
        inputs = {key: value for key, value in stored.items() if key.startswith("input_")} or None
        for column in ("tflm",) if suffix else ("tflm", "cmsis_nn"):
            dump = read_dump(model, inputs, stored, column)
            yield _row(name, f"stored {column}", known, dump, column.replace("_", "-"))


def outputs_alone(dump: Dump) -> Dump:
    """Return a dump of which only the model's outputs are known."""
    outputs = set(dump.model.subgraphs[0].outputs)
    cut = (Invocation(i.inputs, {n: a for n, a in i.tensors.items() if n in outputs}) for i in dump.invocations)
    return Dump(dump.model, tuple(cut), dump.source)


def exchange(dump: Dump, runtime: Runtime, lender: Runtime) -> tuple[int, Dump] | None:
    """Return a dump with one op of another runtime, and which; None if no op is different there.

    Of the ops that the lender runs differently the one in the middle is taken. It runs alone under the lender on the
    tensors of the dump, and those behind it alone under the runtime again.
    """
    graph = dump.model.subgraphs[0]
    invocation = dump.invocations[0]
    values = {**dict(zip(graph.inputs, invocation.inputs, strict=True)), **invocation.tensors}
    values.update(_spread(dump.model))
    with LiteRT(runtime) as own, LiteRT(lender) as other:
        lent = {index: _alone(other, dump.model, index, values) for index in range(len(graph.operators))}
        different = [index for index, found in lent.items() if _differs(found, values)]
        if not different:
            return None
        chosen = different[len(different) // 2]
        values.update(lent[chosen])
        for index in range(chosen + 1, len(graph.operators)):
            if _behind(graph, chosen).intersection(graph.operators[index].inputs):
                values.update(_alone(own, dump.model, index, values))
    known = {number: values[number] for number in invocation.tensors}
    return chosen, Dump(dump.model, (Invocation(invocation.inputs, known),), dump.source)


def _spread(model: fbs.Model) -> dict[int, Array]:
    """Return the constants that ops spread out, which a delegate does not write."""
    graph, found = model.subgraphs[0], {}
    with LiteRT(ALL_RUNTIMES["litert-reference"]) as plain:
        for index, operator in enumerate(graph.operators):
            if operator.name in {"DEQUANTIZE", "DENSIFY"} and graph.tensors[operator.inputs[0]].data is not None:
                found.update(_alone(plain, model, index, {}))
    return found


def _differs(found: dict[int, Array], values: dict[int, Array]) -> bool:
    return any(
        number in values and bool(difference(values[number], value).mismatches) for number, value in found.items()
    )


def _behind(graph: fbs.Subgraph, index: int) -> set[int]:
    """Return the tensors that an op and those behind it write."""
    found = set(graph.operators[index].outputs)
    for operator in graph.operators[index + 1 :]:
        if found.intersection(operator.inputs):
            found.update(operator.outputs)
    return found


def _alone(litert: LiteRT, model: fbs.Model, index: int, values: dict[int, Array]) -> dict[int, Array]:
    """Run one op as a model of its own."""
    single = fbs.extract(model, 0, index)
    graph, operator = model.subgraphs[0], model.subgraphs[0].operators[index]
    given = {graph.tensors[number].name: number for number in operator.inputs if number >= 0}
    sample = [values[given[single.subgraphs[0].tensors[number].name]] for number in single.subgraphs[0].inputs]
    try:
        (answer,) = litert.run(fbs.write(single), [sample], all_tensors=False, timeout=600)
    except QuantrefError:
        return {}
    return dict(zip(operator.outputs, answer.outputs, strict=False))


def _row(name: str, source: str, known: str, dump: Dump, expected: str) -> Row:
    start = time.monotonic()
    result = infer(dump, list(PROFILES.values()))
    found = ", ".join(result.explained_by) or _nearest(result)
    seconds = time.monotonic() - start
    right = expected in result.explained_by or _cannot_be_told(result, expected)
    return Row(name, source, known, expected, found, _elements(result), right, seconds)


def _cannot_be_told(result: InferResult, expected: str) -> bool:
    """Whether it says why it cannot tell: floats that drift; or all that is left is refused by the right profile."""
    if result.verdict is Verdict.DRIFT:
        return True
    if result.verdict is Verdict.NOTHING:
        return any("does not run" in note or "reads past" in note for note in result.notes)
    left = [reading.foreign for reading in result.readings if expected in reading.profiles]
    refused = ({candidate.name for candidate in op.profiles if candidate.refusal} for ops in left for op in ops)
    return bool(left) and all(expected in names for names in refused)


def _mixed_row(name: str, source: str, dump: Dump, index: int, lender: str) -> Row:
    start = time.monotonic()
    result = infer(dump, list(PROFILES.values()))
    readings = [{op.index: op.explained_by for op in reading.foreign} for reading in result.readings]
    # Where just one op differs between the two runtimes, the dump is the lender's; and some dumps are a third one's.
    pointed = any(list(foreign) == [index] and lender in foreign[index] for foreign in readings)
    places = "; ".join(map(str, result.readings))
    found = f"{result.verdict.name.lower()}: {', '.join(result.explained_by) or places}"
    right = pointed or bool(result.explained_by)
    seconds = time.monotonic() - start
    return Row(name, source, "one op mixed in", f"op {index} {lender}", found, _elements(result), right, seconds)


def _nearest(result: InferResult) -> str:
    places = "; ".join(f"{op.place}: {op.finding[:90]}" for op in result.foreign[:4])
    return f"{result.verdict.name.lower()}; {'/'.join(result.nearest)}; {len(result.foreign)} foreign: {places}"


def _elements(result: InferResult) -> int:
    return sum(op.elements for op in result.compared)


def all_rows(names: Sequence[str], runtimes: Sequence[str], samples: int, *, mixed: bool) -> Iterator[Row]:
    """Yield every row; a runtime that does not run a model gives none."""
    for name in names:
        for runtime in runtimes:
            yield from _rows(name, runtime, samples, mixed=mixed)


def _rows(name: str, runtime: str, samples: int, *, mixed: bool) -> Iterator[Row]:
    try:
        if runtime != "stored":
            yield from rows_of_runtime(name, ALL_RUNTIMES[runtime], samples, mixed=mixed)
        elif name in STORED:
            yield from rows_of_goldens(name)
    except QuantrefError as error:
        reason = f"not run: {' '.join(str(error).split())[:150]}"
        yield Row(name, runtime, "-", "-", reason, elements=0, right=True, seconds=0.0)


def main() -> int:
    """Print the rows as they come, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="*", help="shell pattern, such as 'tflm/*' or '../converter/*int8*'")
    sources = ["stored", *ALL_RUNTIMES]
    parser.add_argument("--runtime", action="append", choices=sources, help="by default those of this machine")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--mixed", action="store_true", help="mix in one op of another runtime, too")
    arguments = parser.parse_args()
    runtimes = arguments.runtime or ["stored", "litert-reference", "litert-optimized", "xnnpack"]
    console = Console(width=200 if not sys.stdout.isatty() else None)
    table = Table("model", "outputs of", "known", "elements", "right", "s", "found", title="infer")
    wrong = total = 0
    for row in all_rows(models(arguments.models), runtimes, arguments.samples, mixed=arguments.mixed):
        total += 1
        wrong += not row.right
        mark = "yes" if row.right else "NO"
        cells = (row.model, row.source, row.known, f"{row.elements:,}", mark, f"{row.seconds:.1f}", row.found)
        sys.stderr.write(" | ".join(cells) + "\n")
        table.add_row(*cells)
    console.print(table)
    console.print(f"{total} rows, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
