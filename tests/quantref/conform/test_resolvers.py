"""LiteRT's three op resolvers against a suite: each conforms to its own profile, and is recognized under others."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from quantref.conform import conform
from quantref.conform.result import Outcome
from quantref.runtimes import litert_installed
from quantref.vectors import Plan, Suite, generate
from tests.quantref.conform.suites import PROFILES

pytestmark = [
    pytest.mark.litert,
    pytest.mark.skipif(not litert_installed(), reason="ai-edge-litert is not installed"),
]

PLAN = {
    "profiles": list(PROFILES),
    "negative": ["file"],
    "cells": [
        {
            "cells": [
                "ADD int8",
                "MUL int8",
                "CONV_2D int8 x int8*",
                "FULLY_CONNECTED int8 x int8 per-tensor int32 bias",
            ],
            "count": 6,
        },
        {"cells": ["SOFTMAX int8", "LOGISTIC int8", "AVERAGE_POOL_2D int8", "ELU int8"], "count": 3},
        {"cells": ["CONV_2D int8 aimed*", "DEPTHWISE_CONV_2D int8 aimed*", "MUL int8 aimed*", "ADD int8 aimed*"]},
    ],
    "models": [{"path": "bundled:digits_int8"}],
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Return cases of ops that the resolvers compute in different ways, and of one that the reference lacks."""
    return generate(Plan.of({"name": "resolvers", **PLAN}), tmp_path_factory.mktemp("resolvers") / "suite")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_resolver_conforms_to_its_profile(suite: Suite, profile: str) -> None:
    found = conform(suite, profile, profile)
    assert found.passed, found.summary()
    assert found.total.cases == len(suite)
    assert found.total.outcomes[Outcome.PASSED] >= len(suite) - 6
    assert found.total.elements > 10_000


@pytest.mark.parametrize(("runner", "profile"), list(itertools.permutations(PROFILES, 2)))
def test_under_a_wrong_profile_a_resolver_fails_and_is_recognized(
    suite: Suite, runner: str, profile: str, tmp_path: Path
) -> None:
    found = conform(suite, runner, profile, results=tmp_path / "results.jsonl")
    assert not found.passed
    assert {row.op for row in found.totals.failing} >= {"MUL"}
    unnamed = [
        row for row in found.totals.failing if runner not in {one.profile for one in row.follows if one.complete}
    ]
    assert not unnamed, [f"{row.op} {row.dtypes}: {row.agreements}" for row in unnamed]
