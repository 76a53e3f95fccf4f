"""What check says that LiteRT refuses, LiteRT refuses; what it minds no more than another rounding, it runs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import fbs
import quantref as qr
from quantref.checks.rule import Effect
from quantref.runtimes import RUNTIMES, LiteRT, RuntimeFailure, litert_installed
from tests.quantref.check.faults import FAULTS
from tests.quantref.check.test_good import GOOD

pytestmark = pytest.mark.litert


@pytest.fixture(scope="module", params=list(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> Iterator[LiteRT]:
    """Each of LiteRT's resolvers in turn."""
    if not litert_installed():
        pytest.skip("ai-edge-litert is not installed")
    with LiteRT(request.param) as found:
        yield found


def runs(model: fbs.Model, runtime: LiteRT) -> bool:
    """Whether a runtime loads, prepares and invokes a model."""
    graph = model.subgraphs[0]
    zeros = [np.zeros(graph.tensors[index].shape, graph.tensors[index].dtype.storage) for index in graph.inputs]
    try:
        runtime.run(fbs.write(model), [zeros], all_tensors=False, tensors=[], timeout=60)
    except RuntimeFailure:
        return False
    return True


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_said_of_a_runtime_is_so(name: str, runtime: LiteRT) -> None:
    model = FAULTS[name].build()
    minded = [finding for finding in qr.check(model) if runtime.runtime.name in finding.runtimes]
    effects = {finding.rule.effect for finding in minded}
    if Effect.REFUSES in effects:
        assert not runs(model, runtime), minded
    elif not effects:
        assert runs(model, runtime)


@pytest.mark.parametrize("name", GOOD)
def test_good_models_run(name: str, runtime: LiteRT) -> None:
    assert runs(GOOD[name](), runtime)
