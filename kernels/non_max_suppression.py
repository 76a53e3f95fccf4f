"""NON_MAX_SUPPRESSION_V4, V5: of boxes that overlap, the one with the highest score.

Source: ``tflite/kernels/non_max_suppression.cc``, ``internal/reference/non_max_suppression.h``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from kernels.engine.contract import checked_shape, expect, expect_count, expect_dtype, expect_rank, input_tensor
from kernels.engine.movement import Movement, expect_covered, one_integer
from kernels.engine.registry import Kernel
from kernels.engine.types import OpView, Outputs, Prepared
from kernels.profiles import Profile
from qmath.types import Array, DType, Float32Array


@dataclass(slots=True)
class Candidate:
    """A box that may yet be selected; boxes selected before ``compared_from`` have already lowered its score."""

    box: int
    score: np.float32
    compared_from: int = 0


class Queue:
    """A heap of candidates, highest score on top; equal scores come out as from C++'s ``std::priority_queue``."""

    def __init__(self) -> None:
        self._heap: list[Candidate] = []

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self._heap)

    def push(self, candidate: Candidate) -> None:
        """Add a candidate."""
        self._heap.append(candidate)
        self._rise(len(self._heap) - 1, candidate)

    def pop(self) -> Candidate:
        """Remove the candidate on top: let the better child move up all the way, then put the last one in the hole."""
        heap = self._heap
        top, last = heap[0], heap.pop()
        if heap:
            hole, size = 0, len(heap)
            while (child := 2 * hole + 2) <= size:
                if child == size or heap[child].score < heap[child - 1].score:
                    child -= 1
                heap[hole] = heap[child]
                hole = child
            self._rise(hole, last)
        return top

    def _rise(self, hole: int, candidate: Candidate) -> None:
        heap = self._heap
        while hole and heap[(hole - 1) // 2].score < candidate.score:
            heap[hole] = heap[(hole - 1) // 2]
            hole = (hole - 1) // 2
        heap[hole] = candidate


def intersection_over_union(box: Float32Array, others: Float32Array) -> Float32Array:
    """Return how much a box overlaps others, in float32; boxes are two opposite corners (y, x, y, x)."""
    (low, high), (lows, highs) = _corners(box[None]), _corners(others)
    area, areas = (np.prod(b - a, axis=1) for a, b in ((low, high), (lows, highs)))
    overlap = np.maximum(np.minimum(high, highs) - np.maximum(low, lows), np.float32(0))
    intersection = np.prod(overlap, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = intersection / (area + areas - intersection)
    return np.where((area <= 0) | (areas <= 0), np.float32(0), ratio)


def _corners(boxes: Float32Array) -> tuple[Float32Array, Float32Array]:
    return np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])


def select_boxes(
    boxes: Float32Array, scores: Float32Array, most: int, overlap: np.float32, least: np.float32, sigma: np.float32
) -> tuple[list[int], list[np.float32]]:
    """Select boxes by falling score.

    1. Candidates are boxes that score above ``least``.
    2. The best candidate is compared with the boxes selected since it was last compared, the latest first. An overlap
       of at least ``overlap`` drops it; a smaller one, if ``sigma`` > 0, multiplies its score by
       ``exp(-overlap**2 / (2 * sigma))``, and a score not above ``least`` ends the comparison.
    3. A candidate whose score did not change is selected.
    4. A candidate that was not dropped and still scores above ``least`` stays in the queue, selected or not.
    """
    queue = Queue()
    for box in np.flatnonzero(scores > least):
        queue.push(Candidate(int(box), scores[box]))
    scale = np.float32(-0.5 / float(sigma)) if sigma > 0 else np.float32(0)
    selected: list[int] = []
    selected_scores: list[np.float32] = []
    wanted = min(len(queue), most)
    while len(selected) < wanted and queue:
        candidate = queue.pop()
        before = candidate.score
        rivals = selected[candidate.compared_from :][::-1]
        dropped = False
        for iou in intersection_over_union(boxes[candidate.box], boxes[rivals]):
            if iou >= overlap:
                dropped = True
                break
            if sigma > 0:
                candidate.score = np.float32(candidate.score * _exp(scale * iou * iou))
            if candidate.score <= least:
                break
        candidate.compared_from = len(selected)
        if dropped:
            continue
        if candidate.score == before:
            selected.append(candidate.box)
            selected_scores.append(candidate.score)
        if candidate.score > least:
            queue.push(candidate)
    return selected, selected_scores


def _exp(x: np.float32) -> np.float32:
    return np.float32(math.exp(float(x)))


def non_max_suppression(
    boxes: Array, scores: Array, most: Array, overlap: Array, least: Array, sigma: Array | None = None
) -> Outputs:
    """Return the selected boxes, with a sigma their scores, both filled up with zeros, and how many they are.

    Parameters
    ----------
    boxes
        float32, shape (boxes, 4): two opposite corners each, as y, x, y, x.
    scores
        float32, shape (boxes,).
    most
        int32: how many boxes to select at most.
    overlap
        float32: intersection over union from which on a box is dropped.
    least
        float32: score that a box must exceed.
    sigma
        float32, at least 0: how softly overlaps lower scores; None for NON_MAX_SUPPRESSION_V4.

    Raises
    ------
    ModelError
        ``most`` or ``sigma`` is negative.

    """
    size = checked_shape((one_integer(most),))
    softness = np.float32(0) if sigma is None else np.float32(sigma.reshape(()))
    expect(bool(softness >= 0), f"a sigma that is not negative, found {softness}")
    highest_overlap, lowest_score = (np.float32(limit.reshape(())) for limit in (overlap, least))
    selected, selected_scores = select_boxes(boxes, scores, size[0], highest_overlap, lowest_score, softness)
    indices, kept = np.zeros(size, np.int32), np.zeros(size, np.float32)
    indices[: len(selected)], kept[: len(selected)] = selected, selected_scores
    count = np.array(len(selected), np.int32)
    return (indices, count) if sigma is None else (indices, kept, count)


def prepare(op: OpView, profile: Profile, *, soft: bool) -> Prepared:
    """Check the contract of NON_MAX_SUPPRESSION_V4, or soft V5.

    Raises
    ------
    ModelError
        The op breaks its contract.
    UnsupportedError
        The boxes are not float32.

    """
    del profile
    expect_count(op, {6 if soft else 5}, outputs=3 if soft else 2)
    boxes, scores, most, *limits = (input_tensor(op, slot) for slot in range(len(op.inputs)))
    expect_covered(op, boxes, (DType.FLOAT32,))
    expect_dtype(scores, DType.FLOAT32)
    expect(len(boxes.shape) == 2 and boxes.shape[1] == 4, f"boxes of four coordinates, found shape {boxes.shape}")
    expect(scores.shape == boxes.shape[:1], f"one score a box, found shape {scores.shape}")
    expect_dtype(most, DType.INT32)
    for limit in limits:
        expect_dtype(limit, DType.FLOAT32)
    for scalar in (most, *limits):
        expect_rank(scalar, 0)
    return Movement(non_max_suppression)


KERNELS = (
    Kernel("NON_MAX_SUPPRESSION_V4", partial(prepare, soft=False), covers=("float32",)),
    Kernel("NON_MAX_SUPPRESSION_V5", partial(prepare, soft=True), covers=("float32",)),
)
