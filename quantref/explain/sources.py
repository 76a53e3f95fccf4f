"""Which elements of its inputs an element of the output comes from.

For ops that sum, their kernel says it. For others a place is guessed (the same place in each input, an element that
was moved, the row, everything) and tried: all other elements are replaced by random ones, again and again, and neither
the output nor any stage of the element may change. What does not stand this trial is not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kernels.engine.taps import Fold, Products, values
from kernels.engine.types import Inputs, Prepared
from qmath.errors import QuantrefError
from qmath.types import Array, BoolArray
from quantref.explain.explanation import Element, Product, Scalar, Sum
from quantref.explain.steps import at_time, scalar, values_of
from quantref.recording import Recorder

#: Makes an :class:`Element` of an input slot, or the name of a stage, and an index.
ElementAt = Callable[[int | str, tuple[int, ...]], Element]
#: Returns the array of an input slot, or of a stage.
ArrayOf = Callable[[int | str], Array | None]

#: How far a float32 sum may be from the exact one, relative to the sum of magnitudes.
FLOAT_SUM = 1e-5
#: An element that comes from more elements than this is said to come from all.
MAX_FOUND = 64
#: Elements of an op's inputs up to which a search is made, and blocks of them that it looks at.
MAX_SEARCHED, MAX_BLOCKS = 1 << 16, 400
#: Evaluations of the op after which its elements are not looked for any longer.
MAX_LOOKS = 600
#: Random replacements that a guess has to stand.
TRIALS = 6
#: Types whose elements may be anything, so that they can be replaced; others are indices, axes, shapes.
_FREE = (np.int8, np.uint8, np.int16, np.float32)


def sum_of(products: Products, array_of: ArrayOf, value: Scalar, element: ElementAt) -> Sum | None:
    """List what makes a sum (or a largest element), and hold it against the stage that it should make.

    Returns
    -------
    None if it does not: the explanation must not tell another story than the kernel.

    """
    arrays = [array_of(reads.source) for reads in products.factors]
    factors = [values(array, reads) for array, reads in zip(arrays, products.factors, strict=True) if array is not None]
    if isinstance(value, str) or len(factors) < len(arrays):
        return None
    results = factors[0] if len(factors) == 1 else factors[0] * factors[1]
    if not _makes(results, value, products.fold):
        return None
    offsets = tuple(reads.zero_point for reads in products.factors)
    listed = tuple(
        Product(
            tuple(element(reads.source, tuple(int(i) for i in reads.index[number])) for reads in products.factors),
            offsets,
            scalar(results[number]),
        )
        for number in range(len(results))
    )
    exact = results.dtype.kind in "iu" or products.fold is Fold.LARGEST
    return Sum(listed, products.padding, products.stage, value, products.fold.value, exact)


def _makes(results: Array, value: int | float, fold: Fold) -> bool:
    """Whether results add up to a value, or have it as their largest; float sums nearly."""
    if fold is Fold.LARGEST:
        return bool(results.size and results.max() == value)
    if results.dtype.kind in "iu":
        return int(results.sum(dtype=np.int64)) == value
    magnitude = float(np.abs(results).sum(dtype=np.float64))
    return abs(float(results.sum(dtype=np.float64)) - value) <= FLOAT_SUM * magnitude


@dataclass
class Trial:
    """One op on its real inputs, and the output element that is looked at.

    Attributes
    ----------
    prepared, inputs
        The op.
    output, index
        Which output, and which of its elements.
    looks
        How often the op was evaluated.

    """

    prepared: Prepared
    inputs: Inputs
    output: int
    index: tuple[int, ...]
    looks: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the op was evaluated so often that it should be let be."""
        return self.looks >= MAX_LOOKS

    def look(self, inputs: Inputs) -> tuple[object, ...] | None:
        """Return the element and its stages for some inputs; None if the op does not take them."""
        recorder = Recorder(keep_terms=False, keep_rules=False)
        self.looks += 1
        try:
            with np.errstate(all="ignore"):
                value = self.prepared.evaluate(inputs, recorder)[self.output]
            found = values_of(*at_time(recorder.stages, value, self.index))
            return (value[self.index].tobytes(), *(element.tobytes() for element in found))
        except (QuantrefError, ArithmeticError, LookupError, TypeError, ValueError):
            return None


def sources_of(trial: Trial) -> list[tuple[int, BoolArray]]:
    """Return for each input slot that the element comes from which of its elements do; nothing if that takes long."""
    rng = np.random.default_rng(0)
    before = trial.look(trial.inputs)
    if before is None:
        return []
    found = []
    for slot, array in enumerate(trial.inputs):
        if array is None or array.dtype.type not in _FREE or array.size == 0:
            continue
        for kept in _guesses(trial, slot, array):
            if trial.is_over:
                return []
            if _stands(trial, slot, array, kept, before, rng):
                marked = kept if kept.any() else _beside(trial, array)
                if marked.any():
                    found.append((slot, marked))
                break
    return found


def _beside(trial: Trial, array: Array) -> BoolArray:
    """Return the element at the same place of an input laid out as the output: it is used, and makes no difference."""
    at = _same_place(trial.index, array.shape)
    fits = at is not None and np.broadcast_shapes(array.shape, (1,) * len(trial.index)) == array.shape
    return _marked(np.zeros(array.shape, bool), at) if at is not None and fits else np.zeros(array.shape, bool)


def _stands(
    trial: Trial, slot: int, array: Array, kept: BoolArray, before: tuple[object, ...], rng: np.random.Generator
) -> bool:
    """Whether replacing all elements that are not kept leaves the element as it is."""
    if kept.all():
        return True
    conclusive = 0
    for number in range(2 * TRIALS):
        # Some ops refuse some numbers, such as negative ones, but never those that they were given.
        others = rng.choice(array.reshape(-1), array.shape) if number % 2 else _random(rng, array)
        changed = np.where(kept, array, others)
        if np.array_equal(changed, array):
            continue
        after = trial.look(_with(trial.inputs, slot, changed))
        if after is not None and after != before:
            return False
        conclusive += after is not None
        if conclusive == TRIALS:
            return True
    return conclusive > 0


def _random(rng: np.random.Generator, array: Array) -> Array:
    if array.dtype.kind == "f":
        spread = float(np.abs(array[np.isfinite(array)]).max(initial=0)) or 1.0
        return rng.uniform(-spread, spread, array.shape).astype(array.dtype)
    info = np.iinfo(array.dtype)
    return rng.integers(info.min, info.max, array.shape, array.dtype, endpoint=True)


def _guesses(trial: Trial, slot: int, array: Array) -> Iterator[BoolArray]:
    """Yield which elements of an input could make the element, the fewest first; all of them at last."""
    nothing = np.zeros(array.shape, bool)
    yield nothing
    for at in (_same_place(trial.index, array.shape), _moved_from(trial, slot, array)):
        if at is not None:
            yield _marked(nothing, at)
    rank = array.ndim
    if len(trial.index) == rank:
        for axis in range(rank - 1, -1, -1):
            line: tuple[int | slice, ...] = (*trial.index[:axis], slice(None), *trial.index[axis + 1 :])
            if all(isinstance(i, slice) or i < size for i, size in zip(line, array.shape, strict=True)):
                yield _marked(nothing, line)
    found = _searched(trial, slot, array)
    if found is not None:
        yield found
    if trial.index and rank and trial.index[0] < array.shape[0]:
        yield _marked(nothing, trial.index[:1])
    yield np.ones(array.shape, bool)


def _marked(nothing: BoolArray, at: Sequence[int | slice]) -> BoolArray:
    marked = nothing.copy()
    marked[tuple(at)] = True
    return marked


def _same_place(index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(shape) > len(index):
        return None
    last = index[len(index) - len(shape) :]
    at = tuple(0 if size == 1 else i for i, size in zip(last, shape, strict=True))
    return at if all(i < size for i, size in zip(at, shape, strict=True)) else None


def _moved_from(trial: Trial, slot: int, array: Array) -> tuple[int, ...] | None:
    """Return where the element would have been moved from: elements are replaced by the digits of their place."""
    base = 128 if array.dtype.itemsize == 1 else 1 << 14
    flat, place, scale = np.arange(array.size).reshape(array.shape), 0, 1
    while scale < array.size:
        digits = (flat // scale % base).astype(array.dtype)
        try:
            with np.errstate(all="ignore"):
                outputs = trial.prepared.evaluate(_with(trial.inputs, slot, digits), Recorder(keep_terms=False))
            digit = float(outputs[trial.output][trial.index].real)
        except (QuantrefError, ArithmeticError, LookupError, TypeError, ValueError):
            return None
        if not (0 <= digit < base and digit == int(digit)):
            return None
        place, scale = place + int(digit) * scale, scale * base
    return tuple(int(i) for i in np.unravel_index(place, array.shape)) if place < array.size else None


def _searched(trial: Trial, slot: int, array: Array) -> BoolArray | None:
    """Search for the elements that matter by halving; None if there are many."""
    rng, before = np.random.default_rng(1), trial.look(trial.inputs)
    found = np.zeros(array.size, bool)
    if sum(given.size for given in trial.inputs if given is not None) > MAX_SEARCHED:
        return None
    blocks, searched = [(0, array.size)], 0
    while blocks:
        start, stop = blocks.pop()
        searched += 1
        if searched > MAX_BLOCKS or trial.is_over:
            return None
        if not any(_matters(trial, slot, array, (start, stop), before, rng) for _ in range(TRIALS)):
            continue
        if stop - start == 1:
            found[start] = True
            if found.sum() > MAX_FOUND:
                return None
        else:
            middle = (start + stop) // 2
            blocks += [(start, middle), (middle, stop)]
    return found.reshape(array.shape)


def _matters(
    trial: Trial,
    slot: int,
    array: Array,
    block: tuple[int, int],
    before: tuple[object, ...] | None,
    rng: np.random.Generator,
) -> bool:
    """Whether other elements in a block make another output element, or other stages of it."""
    changed = array.copy()
    part = changed.reshape(-1)[slice(*block)]
    part[:] = _random(rng, part)
    after = trial.look(_with(trial.inputs, slot, changed))
    return after is not None and after != before


def _with(inputs: Inputs, slot: int, array: Array) -> Inputs:
    return [array if number == slot else given for number, given in enumerate(inputs)]
