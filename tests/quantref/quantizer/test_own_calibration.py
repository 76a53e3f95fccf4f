"""From data to model without another tool: as far from the tools' models as their float kernels are from ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
from quantref.quantizer.calibration import calibrate

#: Units in the last place by which a scale may differ.
ULPS = 16
#: Steps by which a bias of 32 bits may differ; one of 64 bits has so many that it follows its scale to more.
BIAS_STEPS = 1


def subgraphs(name: str, style: TFLiteStyle | AEQStyle, mode: str, folder: Path) -> tuple[fbs.Subgraph, fbs.Subgraph]:
    """Return a model quantized by our calibration, and by the tool's, which test_identity.py finds in its files."""
    model = fbs.read(folder / f"{name}.float32.tflite")
    if style.name == "aeq":
        theirs: Statistics = load_aeq_statistics(folder / f"{name}.aeq_static_wi8_ai8.calibration.json")
    else:
        theirs = statistics_from_calibrated(fbs.read(folder / f"{name}.calibrated.tflite"))
    ours = calibrate(model, folder / f"{name}.repdata.npz", style=style.name)
    one, other = (quantize(model, mode=mode, style=style, statistics=known) for known in (ours, theirs))
    return one.subgraphs[0], other.subgraphs[0]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["convnet", "edge", "lstm", "mixed16", "ties"])
@pytest.mark.parametrize("style", [TFLiteStyle(faults=True), AEQStyle(faults=True)], ids=["tflite", "aeq"])
@pytest.mark.parametrize("mode", ["int8", "16x8"])
def test_zero_points_and_weights_are_equal_scales_and_biases_nearly(
    name: str, style: TFLiteStyle | AEQStyle, mode: str, shared: Path
) -> None:
    ours, theirs = subgraphs(name, style, mode, shared / "converter")
    assert [op.name for op in ours.operators] == [op.name for op in theirs.operators]
    compared = 0
    for one, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert (one.name, one.dtype, one.is_constant) == (other.name, other.dtype, other.is_constant)
        if one.quant is None or other.quant is None:
            assert one.quant is other.quant is None
            continue
        np.testing.assert_array_equal(one.quant.zero_point, other.quant.zero_point)
        ulps = one.quant.scale.view(np.int32).astype(np.int64) - other.quant.scale.view(np.int32)
        assert np.abs(ulps).max() <= ULPS
        compared += 1
        if one.is_constant:
            steps = np.abs(one.data.astype(np.int64) - other.data)
            of_scale = np.abs(other.data) * (ULPS * 2.0**-23) if one.dtype.bits == 64 else 0
            assert np.all(steps <= of_scale + (BIAS_STEPS if one.dtype.bits >= 32 else 0))
    assert compared > 5
