"""How tensors are named in files of arrays."""

from __future__ import annotations

from collections import Counter

import fbs


def tensor_keys(subgraph: fbs.Subgraph) -> list[str]:
    """Return a unique key for every tensor: its name, or ``index:name`` where the name is empty or repeats."""
    counts = Counter(tensor.name for tensor in subgraph.tensors)
    return [
        tensor.name if tensor.name and counts[tensor.name] == 1 else f"{index}:{tensor.name}"
        for index, tensor in enumerate(subgraph.tensors)
    ]
