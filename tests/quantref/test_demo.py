"""The demo on bundled data."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from qmath.errors import RuntimeUnavailableError
from quantref import demo
from quantref.cli import main
from quantref.difference import Difference
from quantref.runtimes import litert_installed

#: Decibels of the scores against the float32 network that each form reaches; what int4 weights cost is known.
LEAST = {"float16": 60, "dynamic": 40, "weight-only": 35, "int8": 33, "int8, uint8 io": 33, "16x8": 36}


@pytest.mark.litert
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
def test_every_form_reads_digits_and_equals_the_runtime() -> None:
    seen = []
    result = demo.demo(lambda done, total: seen.append((done, total)))
    assert [model.name for model in result.models] == [form.name for form in demo.FORMS]
    base = result.model("float32")
    for model in result.models:
        assert model.images == 500
        assert model.correct >= base.correct - 5, model.name
        assert model.equal, f"{model.name}: {model.verdict}"
        assert model.compared is not None
        assert model.compared.elements > 600_000
        assert model.scores_sqnr >= LEAST.get(model.name, 10)
        assert model is base or model.size < base.size / 1.5
    assert result.model("int8").compared.relative is None  # nothing but integers
    assert result.equal
    assert seen[-1] == (len(demo.FORMS), len(demo.FORMS))
    assert "no difference" in result.summary()
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["equal"] is True


def unavailable(*_: object, **__: object) -> None:
    raise RuntimeUnavailableError("LiteRT is not installed: pip install 'quantref[litert]'")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave all but two forms out."""
    monkeypatch.setattr(demo, "FORMS", tuple(form for form in demo.FORMS if form.name in {"float32", "int8"}))


@pytest.mark.usefixtures("few")
def test_without_the_runtime_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "LiteRT", unavailable)
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert "pip install" in printed
    assert printed.count("not compared") == 3
    assert "494 of 500" in printed


@pytest.mark.litert
@pytest.mark.usefixtures("few")
def test_a_difference_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found: Callable[..., Difference] = lambda *_: Difference(10, 1)  # noqa: E731 - a stand-in
    monkeypatch.setattr(demo, "_compare", found)
    assert main(["demo", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["equal"] is False
    assert main(["demo"]) == 1
    assert "differences in float32, int8" in capsys.readouterr().out
