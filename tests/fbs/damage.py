"""Damaged copies of a file, and what the reader makes of them."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

import numpy as np

import fbs
from qmath.errors import ModelError, UnsupportedError

_WORDS = (0, 1, 2, 4, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC, 0x00010000, 0x7FC00000)


def damaged(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield copies with bits flipped, words overwritten or copied from elsewhere, or the end cut off."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(min(int(rng.geometric(0.6)), 6)):
            _hurt(copy, rng)
        yield bytes(copy)


def _hurt(copy: bytearray, rng: np.random.Generator) -> None:
    # Most damage keeps to whole words, where offsets and lengths are; the identifier is left alone.
    place = int(rng.integers(2, max(3, len(copy) // 4 - 1))) * 4
    match rng.integers(0, 8):
        case 0:
            copy[place] ^= 1 << int(rng.integers(8))
        case 1 | 2:
            copy[place : place + 4] = struct.pack("<I", _WORDS[rng.integers(len(_WORDS))])
        case 3:
            copy[place : place + 4] = rng.bytes(4)
        case 4:
            copy[place : place + 4] = struct.pack("<i", int(rng.integers(-64, 64)))
        case 5:
            copy[place + int(rng.integers(4))] = int(rng.integers(256))
        case 6:
            other = int(rng.integers(0, len(copy) // 4)) * 4
            copy[place : place + 4] = copy[other : other + 4].ljust(4, b"\0")
        case 7 if rng.integers(4) == 0:
            del copy[max(place, 12) :]


def outcomes(data: bytes, count: int, seed: int) -> Counter[str]:
    """Read, validate and use damaged copies; return how often which outcome came.

    Anything but a model or an error on purpose leaves this function as it is.
    """
    found: Counter[str] = Counter()
    for copy in damaged(data, count, seed):
        try:
            model = fbs.read(copy)
        except (ModelError, UnsupportedError) as error:
            found[f"reading: {type(error).__name__}"] += 1
            continue
        try:
            fbs.validate(model)
        except ModelError:
            found["validating: ModelError"] += 1
            continue
        use(model)
        found["a model"] += 1
    return found


def use(model: fbs.Model) -> None:
    """Look at everything in a model, and write it: after validation nothing of this may raise."""
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            assert tensor.quant is None or tensor.quant.scale.size > 0
            assert tensor.data is None or tensor.data.nbytes >= 0
        for index in range(len(subgraph.operators)):
            assert fbs.view(subgraph, index).name
    assert fbs.read(fbs.write(model)).subgraphs
