"""Small plans."""

from __future__ import annotations

from typing import Any

from quantref.vectors.plan import Plan

CONV = "CONV_2D int8 x int8 per-axis int32 bias"


def small(**changes: Any) -> Plan:
    """Return a plan of a dozen cases of every kind, in units of three."""
    found: dict[str, Any] = {
        "name": "small",
        "seed": 7,
        "profiles": ["litert-reference", "litert-optimized-arm64"],
        "negative": ["contract"],
        "shard_cases": 3,
        "cells": [
            {"cells": [CONV, "ADD int8", "EMBEDDING_LOOKUP int8*"], "count": 2},
            {"cells": CONV, "options": {"padding": [0, 1]}},
        ],
        "models": [{"path": "bundled:digits_int8"}],
    }
    return Plan.of(found | changes)


#: Four cases and nothing else.
TINY = {"negative": [], "models": [], "cells": [{"cells": [CONV, "ADD int8"], "count": 2}]}
