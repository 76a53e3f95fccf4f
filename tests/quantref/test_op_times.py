"""What is told about the time and the form of each op; and plans and threads of an interpreter."""

from __future__ import annotations

import json

import numpy as np
import pytest

import quantref as qr
from qmath.errors import InputError
from quantref.cli import main
from quantref.samples import random_samples
from tests.meta.house import ROOT
from tests.quantref.small_models import two_layers

DIGITS_FLOAT16 = ROOT / "quantref" / "data" / "digits_float16.tflite"


def ready(**settings):
    interpreter = qr.Interpreter(two_layers(), **settings)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.array([[5, -9, 77, -128]], np.int8))
    return interpreter


def test_every_op_has_its_time_and_its_form():
    times = ready().profile_ops(runs=3)
    assert [(op.name, op.output, op.shape, op.products) for op in times.ops] == [
        ("FULLY_CONNECTED", "hidden", (1, 3), 12),
        ("FULLY_CONNECTED", "y", (1, 2), 6),
    ]
    assert all(0 < op.fastest <= op.median and op.giga_ops > 0 for op in times.ops)
    assert all("sums in float32" in op.form and op.form.endswith("settled") for op in times.ops)
    assert json.loads(json.dumps(times.to_json()))["ops"][1]["elements"] == 2
    assert "2 ops" in times.summary()
    assert times._repr_html_().count("<tr>") == 3


def test_a_quick_plan_never_searches():
    forms = [op.form for op in ready(plan="quick").profile_ops(runs=1).ops]
    assert all("proven at every step" not in form for form in forms)
    with pytest.raises(InputError, match="fast, quick"):
        ready(plan="slow")


def test_plans_and_threads_show_in_nothing_but_time():
    outputs = []
    for settings in ({}, {"plan": "quick"}, {"num_threads": 2}, {"num_threads": -1}):
        interpreter = ready(**settings)
        for _ in range(6):
            interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist())
    assert outputs == [outputs[0]] * 4
    with pytest.raises(InputError, match="num_threads from 1 to"):
        ready(num_threads=0)


def test_weights_that_an_op_unpacks_once_are_as_good_as_constants():
    interpreter = qr.Interpreter(DIGITS_FLOAT16)
    interpreter.allocate_tensors()
    (image,) = random_samples(interpreter.model, 1)[0]
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    forms = [op.form for op in interpreter.profile_ops(runs=1).ops if op.name in {"CONV_2D", "FULLY_CONNECTED"}]
    assert len(forms) == 5
    assert "the definition" not in forms
    (index,) = (detail["index"] for detail in interpreter.get_output_details())
    found = interpreter.get_tensor(index)
    interpreter.reset_all_variables()
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(index), found)
    fresh = qr.run(DIGITS_FLOAT16, {interpreter.get_input_details()[0]["name"]: image})
    np.testing.assert_array_equal(next(iter(fresh.values())), found)


def test_runs_must_be_positive():
    with pytest.raises(InputError, match="at least one run"):
        ready().profile_ops(runs=0)


def test_the_command_prints_the_table(tmp_path, capsys):
    model, inputs = tmp_path / "model.tflite", tmp_path / "in.npz"
    qr.save(two_layers(), model)
    np.savez(inputs, x=np.zeros((2, 1, 4), np.int8))
    arguments = ["run", str(model), "--inputs", str(inputs), "-o", str(tmp_path / "out.npz"), "--profile-ops"]
    assert main(arguments) == 0
    assert "GOP/s" in capsys.readouterr().out
    assert main([*arguments, "--json", "--threads", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["op_times"]["ops"]) == 2
