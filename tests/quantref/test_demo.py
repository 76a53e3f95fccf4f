"""The demo on bundled data."""

from __future__ import annotations

import json

import pytest

from qmath.errors import RuntimeUnavailableError
from quantref import demo
from quantref.runtimes import litert_installed


@pytest.mark.litert
@pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed")
def test_both_models_read_digits_and_equal_the_runtime() -> None:
    seen = []
    result = demo.demo(lambda done, total: seen.append((done, total)))
    assert [model.arithmetic for model in result.models] == ["float32", "int8"]
    for model in result.models:
        assert model.images == 500
        assert model.correct >= 485
        assert model.verification is not None
        assert model.verification.equal, model.verification.summary()
    assert result.models[1].size < result.models[0].size / 2
    assert result.equal
    assert seen[-1] == (200, 200)
    assert "bit-exact" in result.summary()
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["equal"] is True


def test_without_the_runtime_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object, **__: object) -> None:
        raise RuntimeUnavailableError("LiteRT is not installed: pip install 'quantref[litert]'")

    monkeypatch.setattr(demo, "verify", unavailable)
    result = demo.demo()
    assert result.equal
    assert "pip install" in result.summary()
    assert all(model.verification is None for model in result.models)
    assert result.models[0].correct >= 485
