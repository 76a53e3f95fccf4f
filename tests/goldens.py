"""Stored outputs of seven runtimes against quantref's profiles: ``python -m tests.goldens --profile tflm``.

The folder ``../shared/goldens`` holds models of one op with inputs and what each runtime gave, the folder
``../shared/goldens-arm`` more of those, from LiteRT on Arm, and ``../shared/goldens-models`` the outputs of whole
models. This prints, for each op and type, how many elements a
profile gets right. Integers are compared by ``==``; floats within one part in 100,000, because the hybrid ops of some
machines fuse multiply and add. With ``--record quantref/data/stored.json`` what was found becomes the evidence that
``quantref profiles show`` tells of.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import quantref
from kernels import profiles
from kernels.profiles import Profile
from qmath.errors import QuantrefError
from qmath.types import Array
from quantref.difference import Difference, difference
from tests.one_op import run_ours

SHARED = Path(__file__).resolve().parents[2] / "shared"
#: Where the output of each profile's runtime lies; a golden that lacks the key was not run there.
KEYS = {
    profiles.LITERT_REFERENCE: "litert_reference",
    profiles.LITERT_OPTIMIZED: "litert_optimized",
    profiles.LITERT_OPTIMIZED_ARM64: "litert_optimized_arm64",
    profiles.XNNPACK: "xnnpack",
    profiles.XNNPACK_ARM64: "xnnpack_arm64",
    profiles.TFLM: "tflm",
    profiles.CMSIS_NN: "cmsis_nn",
}
#: The models of ``goldens-models``: files below ``../shared/models`` by the name of their outputs.
MODELS = {
    "mlperf_ad01_int8": "ad01_int8",
    "mlperf_kws": "kws_int8",
    "mlperf_resnet8_quant": "resnet8_int8",
    "mlperf_str_ww": "streaming_wakeword_int8",
    "mlperf_vww_96_int8": "vww96_int8",
    "tflm_hello_world_int8": "hello_world_int8",
    "tflm_keyword_scrambled_8bit": "keyword_scrambled_int8",
    "tflm_micro_speech_quantized": "micro_speech_int8",
    "tflm_person_detect": "person_detect_int8",
}


@dataclass(frozen=True, slots=True)
class Golden:
    """A model, the inputs of each invocation, what the runtime gave, and which elements are undefined in C."""

    path: Path
    samples: tuple[tuple[Array, ...], ...]
    expected: tuple[Array, ...]
    undefined: Array | None

    @property
    def kind(self) -> str:
        """Op and types, ``"CONV_2D i8"``; or a whole model."""
        if self.path.stem in MODELS.values():
            return f"model {self.path.stem}"
        op, _, case = self.path.stem.partition("__")
        return f"{op} {case.split('_')[0]}"


def goldens(profile: Profile, pattern: str = "*", shared: Path = SHARED) -> Iterator[Golden]:
    """Yield the goldens whose name fits a shell pattern and that the runtime of a profile ran."""
    folders = ("goldens", "goldens-arm", "goldens-models")
    for path in sorted(path for folder in folders for path in (shared / folder).glob("*.npz")):
        if fnmatch.fnmatch(path.stem, pattern) and not path.stem.endswith("__tensors"):
            with np.load(path) as stored:
                arrays = dict(stored)
            expected = arrays.get(f"{KEYS[profile]}__output_0")
            if expected is not None:
                count = sum(key.startswith("input_") for key in arrays)
                inputs = [arrays[f"input_{number}"] for number in range(count)]
                # With several steps the leading axis is time, and state lives on.
                steps = int(arrays.get("steps", 1))
                samples = tuple(zip(*inputs, strict=True)) if steps > 1 else (tuple(inputs),)
                outputs = tuple(expected) if steps > 1 else (expected,)
                yield Golden(_model_of(path, shared), samples, outputs, arrays.get("undefined_shift_mask"))


def _model_of(path: Path, shared: Path) -> Path:
    name = MODELS.get(path.stem)
    return path.with_suffix(".tflite") if name is None else next((shared / "models").rglob(f"{name}.tflite"))


def compare(golden: Golden, profile: Profile) -> Difference:
    """Run a golden's model under a profile."""
    interpreter = quantref.Interpreter(golden.path, profile)
    interpreter.allocate_tensors()
    total = Difference()
    for number, (sample, expected) in enumerate(zip(golden.samples, golden.expected, strict=True)):
        total += difference(expected, run_ours(interpreter, sample)[0], sample=number)
    return total


def record(path: Path, profile: Profile, totals: Mapping[str, Difference], failures: Mapping[str, int]) -> None:
    """Replace what a file says of a profile: for each op and type elements, mismatches, and cases not run."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[profile.name] = [
        {
            "cell": kind,
            "elements": totals[kind].elements,
            "mismatches": totals[kind].mismatches,
            "not_run": failures[kind],
            "runtime": f"{profile.runtime}, stored outputs",
        }
        for kind in sorted({*totals, *failures})
    ]
    path.write_text(json.dumps({name: known[name] for name in sorted(known)}, indent=1) + "\n")


def main() -> int:
    """Print the table; the exit code is 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {profile.name: profile for profile in KEYS}
    parser.add_argument("--profile", choices=[*names, "all"], default="all")
    parser.add_argument("--cases", default="*", help="shell pattern of goldens, such as 'CONV_2D__i8*'")
    parser.add_argument("--record", type=Path, help="JSON file in which the chosen profiles' results are replaced")
    arguments = parser.parse_args()
    console = Console(width=160 if not sys.stdout.isatty() else None)
    table = Table("profile", "op and types", "cases", "elements", "mismatches", "not run")
    wrong = 0
    for profile in names.values() if arguments.profile == "all" else [names[arguments.profile]]:
        totals: dict[str, Difference] = defaultdict(Difference)
        cases: dict[str, int] = defaultdict(int)
        failures: dict[str, int] = defaultdict(int)
        for golden in goldens(profile, arguments.cases):
            cases[golden.kind] += 1
            try:
                found = compare(golden, profile)
            except QuantrefError as error:
                failures[golden.kind] += 1
                console.print(f"{profile.name} {golden.path.stem}: {error}", highlight=False, markup=False)
                continue
            if found.mismatches:
                note = f"{profile.name} {golden.path.stem}: {found.mismatches} of {found.elements}: {found.first}"
                console.print(note, highlight=False, markup=False)
            totals[golden.kind] += found
        if arguments.record:
            record(arguments.record, profile, totals, failures)
        for kind in sorted(cases):
            total = totals[kind]
            wrong += total.mismatches + failures[kind]
            row = (profile.name, kind, str(cases[kind]), f"{total.elements:,}", f"{total.mismatches:,}")
            table.add_row(*row, str(failures[kind]), style="bold red" if total.mismatches or failures[kind] else None)
    console.print(table)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
