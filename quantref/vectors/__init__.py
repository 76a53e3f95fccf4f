"""Golden-vector suites: plan, generate, store, and the cases that every cell of the support table starts from."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantref.vectors.generation import generate
    from quantref.vectors.plan import Plan
    from quantref.vectors.suite import Suite, SuiteCase

__all__ = ["Plan", "Suite", "SuiteCase", "generate"]

#: Where each name lives; loaded when it is used, because ``import quantref`` needs none of them.
_HOMES = {"Plan": "plan", "Suite": "suite", "SuiteCase": "suite", "generate": "generation"}


def __getattr__(name: str) -> Any:
    """Load what is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"quantref.vectors.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
