"""Multipliers, shifts, offsets and ranges of every op."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fbs
from qmath.types import DType
from quantref.multipliers import HEAD, multipliers
from tests.oracles import rational
from tests.quantref.small_models import custom_op, two_layers


def test_every_channel_is_what_the_scales_give(data: Path) -> None:
    model = fbs.read(data / "digits_int8.tflite")
    table = multipliers(model)
    conv = table.entries[0]
    operator = model.subgraphs[0].operators[0]
    scales = [model.subgraphs[0].tensors[n].quant.scale for n in (*operator.inputs[:2], operator.outputs[0])]
    for channel, weights_scale in enumerate(scales[1]):
        real = float(scales[0][0]) * float(weights_scale) / float(scales[2][0])
        assert conv.real_multiplier[channel] == real
        assert (conv.multiplier[channel], conv.shift[channel]) == rational.encode(real)
    assert conv.offsets == {"input_offset": 128, "filter_offset": 0, "output_offset": -128}
    assert (conv.activation.min, conv.activation.max) == (-128, 127)
    assert conv.regime == "double rounding"


def test_ops_have_as_many_entries_as_multipliers(data: Path) -> None:
    table = multipliers(data / "digits_int8.tflite")
    of_add = [entry for entry in table.entries if entry.op_name == "ADD"]
    assert [entry.place for entry in of_add] == ["requantize", "first", "second"]
    (pool,) = (entry for entry in table.entries if entry.op_name == "AVERAGE_POOL_2D")
    assert pool.multiplier.size == 0
    assert pool.activation is not None
    assert table.summary() == "digits_int8.tflite under litert-reference: 174 multipliers of 11 ops"


def test_float_regimes_come_with_the_fixed_point_form() -> None:
    entry = multipliers(two_layers()).entries[0]
    assert entry.regime == "float64 half away"
    assert (entry.multiplier[0], entry.shift[0]) == rational.encode(float(entry.real_multiplier[0]))


def test_a_mean_takes_in_its_count() -> None:
    builder = fbs.Builder()
    x = builder.input("x", DType.INT8, (1, 3, 5, 2), scale=0.5)
    y = builder.tensor("y", DType.INT8, (1, 2), scale=0.25)
    builder.op("MEAN", [x, builder.constant("axes", np.array([1, 2], np.int32))], [y], keep_dims=False)
    (entry,) = multipliers(builder.finish([y])).entries
    value = float(entry.multiplier[0]) * 2.0 ** float(entry.shift[0] - 31)
    assert value == pytest.approx(2 / 15, rel=1e-8)


def test_csv_has_a_row_for_every_channel(data: Path) -> None:
    table = multipliers(data / "digits_int8.tflite")
    head, *rows = csv.reader(io.StringIO(table.to_csv()))
    assert tuple(head) == HEAD
    assert len(rows) == 174 + 2  # two pools clamp, and multiply by nothing
    first = dict(zip(head, rows[0], strict=True))
    assert float(first["real_multiplier"]) == table.entries[0].real_multiplier[0]
    assert int(first["multiplier"]) == table.entries[0].multiplier[0]


def test_c_arrays(data: Path, tmp_path: Path) -> None:
    text = multipliers(data / "digits_int8.tflite", "tflm").to_c()
    (body,) = re.findall(r"op0_conv_2d_multiplier\[16\] = \{([^}]*)\}", text)
    assert len(body.split(",")) == 17
    assert "op6_add_first_shift[1]" in text
    compiler = shutil.which("cc")
    if compiler:
        (tmp_path / "m.c").write_text(text)
        flags = ["-std=c99", "-Wall", "-Werror", "-Wno-unused", "-fsyntax-only"]
        subprocess.run([compiler, *flags, str(tmp_path / "m.c")], check=True)


def test_names_cannot_end_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "a*"
    path.mkdir()
    fbs.save(two_layers(), path / "??.tflite")
    assert multipliers(path / "??.tflite").to_c().count("*/") == multipliers(two_layers()).to_c().count("*/")


def test_what_is_not_covered_is_said() -> None:
    table = multipliers(custom_op())
    assert list(table.refusals) == [1]
    assert "op 1 is not covered: no kernel for Mystery" in table.summary()
    json.dumps(table.to_json(), allow_nan=False)
    assert table._repr_html_().startswith("<p>")
