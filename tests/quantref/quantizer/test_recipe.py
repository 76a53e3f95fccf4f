"""Recipes: which ops rules speak of, which rule counts, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fbs
from qmath.errors import InputError
from quantref.quantizer import Recipe, Rule, plan, quantize
from quantref.quantizer.graph import FloatGraph
from quantref.quantizer.request import Mode
from tests.quantref.quantizer.small_graphs import FloatGraphBuilder, params, statistics

TEXT = """
[[rule]]
op = "FULLY_.*"
mode = "float32"

[[rule]]
tensor = "head/"
mode = "16x8"

[[rule]]
op = "LOGISTIC"
tensor = "head"
observer = "percentile:99.5"
"""


def network() -> fbs.Model:
    g = FloatGraphBuilder()
    return g.finish(g.op("LOGISTIC", [g.dense(g.dense(g.input(), "body/one"), "head/two")], "head/out"))


def loaded(path: Path, text: str) -> Recipe:
    path.write_text(text, encoding="utf-8")
    return Recipe.load(path)


def test_of_rules_that_speak_of_the_same_thing_the_last_counts(tmp_path: Path) -> None:
    recipe, graph = loaded(tmp_path / "r.toml", TEXT), FloatGraph(network())
    assert [recipe.mode(graph, op) for op in range(3)] == [Mode.FLOAT32, Mode.INT16X8, Mode.INT16X8]
    observers = {graph.tensors[op.outputs[0]].name: recipe.observer(graph, op.outputs[0]) for op in graph.operators}
    assert observers == {"body/one": None, "head/two": None, "head/out": "percentile:99.5"}
    assert Recipe(recipe.rules[1:]).mode(graph, 0) is None


def test_a_recipe_is_a_path_or_a_python_object(tmp_path: Path) -> None:
    loaded(tmp_path / "r.toml", TEXT)
    expected = [
        (op.output, op.form) for op in plan(network(), mode="int8", recipe=Recipe.load(tmp_path / "r.toml")).ops
    ]
    assert expected == [("body/one", "float32"), ("head/two", "int16"), ("head/out", "int16")]
    assert [(op.output, op.form) for op in plan(network(), mode="int8", recipe=tmp_path / "r.toml").ops] == expected


def test_an_observer_makes_the_range_of_what_it_is_named_for() -> None:
    g = FloatGraphBuilder()
    model = g.finish(g.op("MUL", [g.input(), g.builder.constant("two", np.array(2, np.float32))], "y"))
    data = [[np.array([[-1, 0.5, 1, value]], np.float32)] for value in (*[0.25] * 99, 10)]
    recipe = Recipe((Rule(op="MUL", observer="percentile:90"),))
    plain = quantize(model, mode="int8", representative_dataset=data)
    robust = quantize(model, mode="int8", representative_dataset=data, recipe=recipe)
    assert params(plain, "y_int8")[0] == pytest.approx(22 / 255)
    assert params(robust, "y_int8")[0] == pytest.approx(4 / 255, rel=0.05)
    assert params(robust, "x_int8") == params(plain, "x_int8")
    with pytest.raises(InputError, match="found a generator"):
        quantize(model, mode="int8", representative_dataset=iter(data), recipe=recipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode = ", "expected TOML"),
        ("[[rules]]\nop='ADD'", r"expected a recipe of \[\[rule\]\] tables, found rules"),
        ("rule = 1", "expected a recipe of"),
        ("[[rule]]\nmode='int8'", "rule 1: expected a rule with op or tensor, found neither"),
        ("[[rule]]\nop='ADD'", "rule 1: expected a rule with mode or observer, found neither"),
        ("[[rule]]\nop='ADD'\nkeep=true", "rule 1: expected the keys mode, observer, op, tensor, found keep"),
        ("[[rule]]\nop='ADD'\nmode=8", "rule 1: expected text for every key"),
        ("[[rule]]\nop='ADD'\nmode='int7'", "rule 1: expected a mode among .*, found 'int7'"),
        ("[[rule]]\nop='A('\nmode='int8'", r"rule 1: expected a regular expression, found 'A\('"),
    ],
)
def test_a_recipe_that_says_nothing_sensible_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"r.toml: {message}"):
        loaded(tmp_path / "r.toml", text)


def test_a_recipe_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = network()
    with pytest.raises(InputError, match="readable file"):
        quantize(model, mode="int8", recipe=tmp_path / "none.toml")
    with pytest.raises(InputError, match="rule 1 of the recipe: expected an op or tensor of the model"):
        quantize(model, mode="dynamic", recipe=Recipe((Rule(op="FULLY", mode=Mode.FLOAT32),)))
    with pytest.raises(InputError, match="style tflite: expected rules of mode float32, found 16x8"):
        quantize(model, mode="int8", style="tflite", recipe=Recipe((Rule(tensor="head", mode=Mode.INT16X8),)))
    median, data = Recipe((Rule(tensor="head", observer="median"),)), [[np.zeros((1, 4), np.float32)]]
    with pytest.raises(InputError, match="expected an observer among"):
        quantize(model, mode="int8", representative_dataset=data, recipe=median)


@pytest.mark.parametrize("style", ["tflite", "aeq"])
def test_every_style_keeps_ops_float(style: str) -> None:
    model = network()
    recipe = Recipe((Rule(tensor="body", mode=Mode.FLOAT32),))
    kept = plan(model, mode="int8", style=style, statistics=statistics(model), recipe=recipe)
    assert [(op.form, op.reason) for op in kept.ops][:2] == [("float32", "the recipe keeps it float"), ("int8", "")]
