"""Models of TFLiteConverter, of other tools and of the quantizer: no errors in what runs, and what they get wrong."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest

import fbs
import quantref as qr
from qmath.errors import QuantrefError
from quantref.runtimes import LiteRT, RuntimeFailure, litert_installed
from quantref.samples import random_samples

pytestmark = pytest.mark.shared
#: Models that TFLite Micro runs, though LiteRT does not.
MICRO = ("person_detect_int8.tflite", "keyword_scrambled_int8.tflite")


def _models(shared: Path) -> list[Path]:
    return sorted([*shared.glob("converter/*.tflite"), *shared.glob("models/*/*.tflite")])


def _refused(path: Path) -> bool:
    """Whether neither a plain interpreter nor the reference kernels run a model."""
    sample = random_samples(qr.load(path), 1)
    for name in ("xnnpack", "litert-reference"):
        try:
            with LiteRT(name) as runtime:
                runtime.run(path, sample, all_tensors=False, tensors=[])
        except RuntimeFailure:
            continue
        return False
    return True


def test_no_model_that_runs_has_an_error(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not litert_installed():
        pytest.skip("ai-edge-litert is not installed")
    found = {path: qr.check(path) for path in _models(shared)}
    wrong = [path for path, result in found.items() if result.errors]
    assert len(found) >= 140
    assert all(_refused(path) for path in wrong), "an error in a model that runs"
    assert not [path for path in wrong if path.name in MICRO]
    counts = {word: sum(result.counts[word] for result in found.values()) for word in ("error", "warning", "note")}
    with capsys.disabled():
        print(f"\n{len(found)} models, {len(wrong)} with errors, none of which runs; in all {counts}")  # noqa: T201


def test_every_model_that_does_not_run_has_a_warning_at_least(shared: Path) -> None:
    """Those that LiteRT 2.3.0 refuses: float fallback of 16x8, int32 biases of DEPTHWISE_CONV_2D, QAT, old files."""
    crashing = qr.check(shared / "models/tflm/keyword_scrambled_int8.tflite", runtimes="xnnpack")
    assert [finding.location.op for finding in crashing if finding.rule.slug == "known-defect"] == ["SVDF"] * 7
    names = (
        *("converter/convnet.int16x8_bias32", "converter/ties.int16x8_bias32", "converter/edge.int16x8_fallback"),
        *("converter/edge.int16x8_oldq", "converter/edge.int8_oldq", "converter/lstm.int16x8_fallback"),
        *(
            "converter/lstm.int16x8_oldq",
            "converter/qat.int8",
            "converter/qat.int8_floatio",
            "converter/qat.int8_legacy",
        ),
        *("converter/qat.int8_uint8io", "converter/qatpc.int8_legacy", "models/tflm/person_detect_int8"),
    )
    for name in names:
        found = qr.check(shared / f"{name}.tflite")
        assert found.at_least(qr.Severity.WARNING), name
        plain = qr.check(shared / f"{name}.tflite", runtimes=["litert-reference", "xnnpack"])
        assert plain.errors, name


def test_the_odd_axis_of_person_detect_is_explained(shared: Path) -> None:
    found = qr.check(shared / "models/tflm/person_detect_int8.tflite")
    odd = [finding for finding in found if finding.rule.slug == "axis-beyond-rank"]
    assert len(odd) == 14
    for finding in odd:
        assert finding.severity is qr.Severity.WARNING
        assert "quantized_dimension 3" in finding.found
        assert "quantized_dimension of its filter" in finding.rule.reason
        assert set(finding.runtimes).isdisjoint({"tflm", "cmsis-nn"})
    assert not qr.check(shared / "models/tflm/person_detect_int8.tflite", runtimes="tflm").errors


@pytest.mark.parametrize("name", ["qat.int8", "qat.int8_floatio", "qat.int8_legacy", "qat.int8_uint8io"])
def test_asymmetric_weights_of_trained_models_are_explained(shared: Path, name: str) -> None:
    found = qr.check(shared / f"converter/{name}.tflite")
    odd = [finding for finding in found if finding.rule.slug == "asymmetric-weights"]
    assert {finding.location.op for finding in odd} == {"CONV_2D", "FULLY_CONNECTED"}
    assert all(finding.severity is qr.Severity.WARNING for finding in odd)
    assert all("quantization-aware training" in finding.rule.reason for finding in odd)
    assert not found.errors


def test_shared_biases_of_16x8_are_found(shared: Path) -> None:
    """The converter's flatbuffer quantizer quantizes a bias that several ops share for the first of them."""
    found = qr.check(shared / "models/mobilenet_v2/mobilenet_v2_224_16x8.tflite")
    assert sum(finding.rule.slug == "bias-shared" for finding in found) == 39
    assert not found.errors


def test_a_wrapped_bias_is_found(shared: Path) -> None:
    found = qr.check(shared / "converter/edge.aeq_static_wi8_ai8.tflite")
    assert "bias-at-limit" in {finding.rule.slug for finding in found}


@pytest.mark.parametrize("base", ["convnet", "mixed16", "lstm"])
def test_what_the_quantizer_writes_has_no_errors(shared: Path, base: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = shared / f"converter/{base}.float32.tflite"
    statistics = qr.calibrate(model, shared / f"converter/{base}.repdata.npz")
    checked = 0
    for style in ("quantref", "tflite", "aeq"):
        for mode in ("int8", "16x8", "dynamic", "float16"):
            options = {"statistics": statistics, "fallback": True} if mode in {"int8", "16x8"} else {}
            written = _quantized(model, style, mode, options)
            if written is not None:
                found = qr.check(written)
                assert not found.errors, (style, mode, found.summary())
                checked += 1
    assert checked >= 8
    with capsys.disabled():
        print(f"\n{base}: {checked} models of the quantizer without errors")  # noqa: T201


def _quantized(model: Path, style: str, mode: str, options: dict[str, object]) -> fbs.Model | None:
    """Quantize a model, or return None where the style refuses to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            written = qr.quantize(model, mode=mode, style=style, **options)
        except QuantrefError:
            return None
    return getattr(written, "model", written)


def test_a_large_model_is_checked_soon(shared: Path) -> None:
    qr.check(shared / "models/mobilenet_v2/mobilenet_v2_224_float32.tflite")  # imports what it needs
    for kind in ("int8", "16x8", "dynamic"):
        start = time.perf_counter()
        qr.check(shared / f"models/mobilenet_v2/mobilenet_v2_224_{kind}.tflite")
        assert time.perf_counter() - start < 2.0
