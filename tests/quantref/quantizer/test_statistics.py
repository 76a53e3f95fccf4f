"""Statistics survive files and shards bit for bit, and are taken from other tools' files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fbs
from qmath.errors import InputError
from qmath.types import DType
from quantref.quantizer import Range, Statistics, load_aeq_statistics, statistics_from_calibrated
from quantref.quantizer.statistics import model_digest

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=4))
def test_json_keeps_every_bit(bounds: list[tuple[float, float]]) -> None:
    ranges = {f"t{n}": Range(min(pair), max(pair)) for n, pair in enumerate(bounds)}
    statistics = Statistics(ranges, samples=3, observer="percentile", model_digest="ab")
    again = Statistics.from_json(json.loads(json.dumps(statistics.to_json())))
    assert again == statistics
    for key, found in again.ranges.items():
        assert found.min.tobytes() == ranges[key].min.tobytes()
        assert found.max.tobytes() == ranges[key].max.tobytes()


def test_files_round_trip_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    Statistics({"x": Range(-0.1, 0.3)}).save(path)
    assert Statistics.load(path) == Statistics({"x": Range(-0.1, 0.3)})
    assert [file.name for file in tmp_path.iterdir()] == ["s.json"]
    for text in ("", "[]", "{}", '{"format": "quantref statistics", "version": 1, "ranges": {"x": [1]}}'):
        path.write_text(text)
        with pytest.raises(InputError, match="expected"):
            Statistics.load(path)
    with pytest.raises(InputError, match="readable"):
        Statistics.load(tmp_path / "none.json")


@pytest.mark.parametrize("bounds", [(np.nan, 1), (0, np.inf), (2, 1), (0, 1e39)])
def test_ranges_are_finite_and_in_order(bounds: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="finite range"):
        Range(*bounds)


def test_shards_merge_into_what_one_run_would_have_found() -> None:
    one = Statistics({"x": Range(-1, 2), "y": Range(0, 1)}, samples=4, model_digest="a")
    two = Statistics({"x": Range(0, 3), "z": Range(5, 6)}, samples=6)
    merged = Statistics({"x": Range(-1, 3), "y": Range(0, 1), "z": Range(5, 6)}, samples=10, model_digest="a")
    assert one.merge(two) == merged
    assert one.merge() == one
    with pytest.raises(InputError, match="digests"):
        one.merge(Statistics({}, model_digest="b"))
    with pytest.raises(InputError, match="percentile"):
        one.merge(Statistics({}, observer="percentile"))


def small_model(scale: float = 1.0) -> fbs.Model:
    b = fbs.Builder()
    x = b.input("x", DType.FLOAT32, (1, 2))
    w = b.constant("w", np.full((1, 2), scale, np.float32))
    y = b.tensor("", DType.FLOAT32, (1, 1))
    b.op("FULLY_CONNECTED", [x, w, None], [y])
    return b.finish(outputs=[y])


def test_statistics_belong_to_a_model() -> None:
    model = small_model()
    statistics = Statistics({"x": Range(0, 1), "2:": Range(-1, 1)}, model_digest=model_digest(model))
    assert statistics.of(model) == {0: Range(0, 1), 2: Range(-1, 1)}
    with pytest.raises(InputError, match="another one"):
        statistics.of(small_model(2.0))
    with pytest.raises(InputError, match="'q'"):
        Statistics({"q": Range(0, 1)}).of(model)


@pytest.mark.shared
def test_calibrated_models_are_read(shared: Path) -> None:
    model = fbs.read(shared / "converter" / "convnet.calibrated.tflite")
    ranges = statistics_from_calibrated(model).of(fbs.read(shared / "converter" / "convnet.float32.tflite"))
    assert len(ranges) == 9
    assert ranges[18].max.tobytes() == model.subgraphs[0].tensors[18].quantization.max.tobytes()
    with pytest.raises(InputError, match="calibrated"):
        statistics_from_calibrated(small_model())


@pytest.mark.shared
def test_ai_edge_quantizer_files_hold_float32_values(shared: Path) -> None:
    folder, compared = shared / "converter", 0
    for path in sorted(folder.glob("*.calibration.json")):
        ranges = load_aeq_statistics(path).ranges
        for key, entry in json.loads(path.read_text()).items():
            assert float(ranges[key].min) == np.ravel(entry["min"])[0]
            assert float(ranges[key].max) == np.ravel(entry["max"])[0]
            compared += 1
    assert compared > 80
