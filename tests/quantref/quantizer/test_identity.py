"""With statistics injected, our models are those of TFLiteConverter and AI Edge Quantizer, tensor for tensor."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fbs
from quantref.quantizer import (
    AEQStyle,
    Statistics,
    TFLiteStyle,
    load_aeq_statistics,
    quantize,
    statistics_from_calibrated,
)
from tests.quantref.quantizer.sameness import compare
from tests.quantref.quantizer.trained_models import trained_model

MODELS = ("convnet", "edge", "lstm", "mixed16", "ties")

TFLITE = TFLiteStyle(faults=True)
#: The converter decides by chance about SPLIT of mixed16, of which not all results are read: both happened here.
UNREAD_FLOAT = dataclasses.replace(TFLITE, integer_where_unread=False)
OLD = dataclasses.replace(TFLITE, new_quantizer=False)
AEQ = AEQStyle(faults=True)

#: How each kind of file is asked for. ``statistics`` is filled in below, by the style.
STATISTICS: dict[str, dict[str, Any]] = {
    "int8": {"style": UNREAD_FLOAT, "mode": "int8", "input_type": "int8", "output_type": "int8"},
    "int8_floatio": {"style": UNREAD_FLOAT, "mode": "int8"},
    "int8_fallback": {"style": UNREAD_FLOAT, "mode": "int8"},
    "int8_uint8io": {"style": UNREAD_FLOAT, "mode": "int8", "input_type": "uint8", "output_type": "uint8"},
    "int8_pertensor": {"style": dataclasses.replace(TFLITE, per_channel=False), "mode": "int8"},
    "int8_pertensor_dense": {"style": dataclasses.replace(TFLITE, per_channel_dense=False), "mode": "int8"},
    "int8_oldq": {"style": OLD, "mode": "int8"},
    "int16x8": {"style": TFLITE, "mode": "16x8", "input_type": "int16", "output_type": "int16"},
    "int16x8_floatio": {"style": TFLITE, "mode": "16x8"},
    "int16x8_fallback": {"style": TFLITE, "mode": "16x8"},
    "int16x8_oldq": {"style": TFLITE, "mode": "16x8"},
    "int16x8_bias32": {"style": TFLITE, "mode": "16x8", "bias_bits": 32},
    "aeq_static_wi8_ai8": {"style": AEQ, "mode": "int8"},
    "aeq_static_wi8_ai16": {"style": AEQ, "mode": "16x8"},
}
WEIGHTS: dict[str, dict[str, Any]] = {
    "dynamic_int8": {"style": TFLITE, "mode": "dynamic"},
    "dynamic_int8_pertensor": {"style": dataclasses.replace(TFLITE, per_channel=False), "mode": "dynamic"},
    "dynamic_int8_oldq": {"style": OLD, "mode": "dynamic"},
    "float16": {"style": TFLITE, "mode": "float16"},
    "aeq_dynamic_wi8_afp32": {"style": AEQ, "mode": "dynamic"},
    "aeq_dynamic_wi4_afp32": {"style": AEQ, "mode": "int4"},
    "aeq_weight_only_wi8_afp32": {"style": AEQ, "mode": "weight-only"},
    "aeq_fp16": {"style": AEQ, "mode": "float16"},
}
#: (mean, std) and type of the models from training.
TRAINED: dict[str, dict[str, Any]] = {
    "int8": {"mode": "int8", "input_type": "int8", "output_type": "int8"},
    "int8_floatio": {"mode": "int8"},
    "int8_uint8io": {"mode": "int8", "input_type": "uint8", "output_type": "uint8"},
    "int8_legacy": {"mode": "int8", "input_type": "int8", "output_type": "int8", "input_stats": (3.0, 51.0)},
    "uint8_legacy": {"mode": "uint8", "input_type": "uint8", "output_type": "uint8", "input_stats": (127.5, 51.0)},
}

#: Facts compared, by kind of file; all are equal.
COMPARED: dict[str, int] = {
    **dict.fromkeys(("int8", "int8_floatio", "int8_fallback", "int8_pertensor", "int8_pertensor_dense"), 552),
    **dict.fromkeys(("int8_oldq", "int16x8_fallback", "int16x8_oldq"), 552),
    "int8_uint8io": 504,
    **dict.fromkeys(("int16x8", "int16x8_floatio", "int16x8_bias32"), 263),
    **dict.fromkeys(("aeq_static_wi8_ai8", "aeq_static_wi8_ai16", *WEIGHTS), 542),
    **dict.fromkeys(("trained int8", "trained int8_floatio", "trained int8_uint8io"), 56),
    **dict.fromkeys(("trained int8_legacy", "trained uint8_legacy"), 56),
    "trained int8_rep": 28,
    **dict.fromkeys(("int8_defaultranges", "uint8_defaultranges"), 38),
}


class Pair(NamedTuple):
    """A file of another tool, and ours."""

    kind: str
    theirs: Path
    ours: fbs.Model


def calibrated_pairs(folder: Path) -> Iterator[Pair]:
    for name in MODELS:
        model = fbs.read(folder / f"{name}.float32.tflite")
        from_tflite = statistics_from_calibrated(fbs.read(folder / f"{name}.calibrated.tflite"))
        from_aeq = load_aeq_statistics(folder / f"{name}.aeq_static_wi8_ai8.calibration.json")
        for kind, arguments in STATISTICS.items():
            path = folder / f"{name}.{kind}.tflite"
            statistics: Statistics = from_aeq if kind.startswith("aeq") else from_tflite
            if path.exists():
                yield Pair(kind, path, quantize(model, statistics=statistics, **arguments))


def weights_pairs(folder: Path) -> Iterator[Pair]:
    for name in MODELS:
        model = fbs.read(folder / f"{name}.float32.tflite")
        for kind, arguments in WEIGHTS.items():
            yield Pair(kind, folder / f"{name}.{kind}.tflite", quantize(model, **arguments))


def trained_pairs(folder: Path) -> Iterator[Pair]:
    for name in ("qat", "qatpc"):
        for kind, arguments in TRAINED.items():
            legacy = kind.endswith("legacy")
            model = trained_model(
                narrow=kind != "uint8_legacy", input_range=not legacy, per_channel=name == "qatpc" and not legacy
            )
            yield Pair(f"trained {kind}", folder / f"{name}.{kind}.tflite", quantize(model, style=TFLITE, **arguments))
    model = trained_model(narrow=True, input_range=True, per_channel=True)
    again = quantize(model, style=TFLITE, statistics=Statistics({}), **TRAINED["int8"])
    yield Pair("trained int8_rep", folder / "qatpc.int8_rep.tflite", again)
    model = fbs.read(folder / "legacy.float32.tflite")
    for mode in ("uint8", "int8"):
        ours = quantize(
            model,
            mode=mode,
            style=TFLITE,
            input_type=mode,
            output_type=mode,
            input_stats=(128.0, 64.0),
            default_ranges=(-6.0, 6.0),
        )
        yield Pair(f"{mode}_defaultranges", folder / f"legacy.{mode}_defaultranges.tflite", ours)


@pytest.mark.shared
@pytest.mark.parametrize("pairs", [calibrated_pairs, weights_pairs, trained_pairs])
def test_models_are_equal_in_everything_but_numbering(
    shared: Path, pairs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    equal, compared, files, differences = Counter[str](), Counter[str](), Counter[str](), []
    for kind, path, ours in pairs(shared / "converter"):
        found = compare(ours, fbs.read(path))
        equal[kind] += sum(found.equal.values())
        compared[kind] += sum(found.compared.values())
        files[kind] += 1
        differences += [f"{path.name}: {difference}" for difference in found.differences]
    with capsys.disabled():
        for kind in sorted(compared):
            print(f"\n  {kind:28} {equal[kind]:>5} / {compared[kind]:<5} equal in {files[kind]} files", end="")  # noqa: T201 - asked for
    assert not differences, "\n".join(differences)
    assert equal == compared
    assert dict(compared) == {kind: COMPARED[kind] for kind in compared}
