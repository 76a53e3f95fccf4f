"""Calibration: ranges of every activation, the same in any portions, with the converter's habits where asked for."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fbs
import quantref as qr
from qmath.calibration import FLT_MIN, MIN_MAX, MOVING_AVERAGE, OBSERVERS, Extent, Percentile, observer_named
from qmath.errors import InputError, UnsupportedError
from qmath.scheme import asymmetric_params
from qmath.types import DType
from quantref.quantizer import calibration, load_aeq_statistics, statistics_from_calibrated
from quantref.quantizer.calibration import calibrate
from quantref.quantizer.pollution import Overwrite, overwritten_inputs, polluted
from quantref.quantizer.statistics import Statistics
from tests.quantref.quantizer.float_models import any_length, difference, exponential, images, remembering, residual
from tests.quantref.small_models import custom_op, two_layers


class Immediately(Executor):
    """Runs what it is given at once, and counts."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function."""
        self.submitted += 1
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def bits(statistics: Statistics) -> dict[str, bytes]:
    return {key: bounds.min.tobytes() + bounds.max.tobytes() for key, bounds in statistics.ranges.items()}


# --- What is found ----------------------------------------------------------------------------------------------------


def test_every_activation_has_the_range_that_it_took() -> None:
    data = images(7)
    found = calibrate(residual(), data)
    assert list(found.ranges) == ["x", "one", "two", "total", "flat", "y"]
    assert (found.samples, found.observer) == (7, "min-max")
    assert (found.ranges["x"].min, found.ranges["x"].max) == (data.min(), data.max())
    scores = np.concatenate([qr.run(residual(), {"x": image})["y"] for image in data])
    assert found.ranges["y"].min == pytest.approx(scores.min(), rel=1e-4)  # products are added in another order
    assert found.ranges["y"].max == scores.max() == 1
    assert found.of(residual()).keys() == {0, 1, 2, 3, 8, 10}


def test_sources_of_models(tmp_path: Path) -> None:
    fbs.save(residual(), tmp_path / "m.tflite")
    written = fbs.write(residual())
    found = [calibrate(source, images(2)) for source in (residual(), written, tmp_path / "m.tflite")]
    assert bits(found[0]) == bits(found[1]) == bits(found[2])


def test_the_first_sample_may_have_another_size() -> None:
    assert calibrate(any_length(), [np.full((5, 2), 3.0), np.zeros((1, 2))]).ranges["y"].max == 4


def test_state_stays_from_sample_to_sample() -> None:
    """Inputs 1, 2, 4 give 1, 1/2 + 2, 1/4 + 1 + 4; the state begins at 0."""
    data = [np.full((1, 1), value, np.float32) for value in (1, 2, 4)]
    for executor in (None, Immediately()):
        found = calibrate(remembering(), data, executor=executor)
        assert (found.ranges["y"].min, found.ranges["y"].max) == (1.0, 5.25)
        assert (found.ranges["state"].min, found.ranges["state"].max) == (0.0, 4.0)
    assert calibrate(remembering(), [-4 * data[0]]).ranges["state"].max == 0


def test_masks_are_no_measurements_but_the_converter_counts_them() -> None:
    data = [[np.full((1, 3), 1, np.float32), np.array([[0, 2, 3.2e38]], np.float32)]]
    assert calibrate(difference(), data).ranges["given_a:0"].max == 2
    assert calibrate(difference(), data, style="aeq").ranges["given_a:0"].max == 2
    assert calibrate(difference(), data, style="tflite").ranges["given_a:0"].max == np.float32(3.2e38)


def test_the_converter_knows_no_negative_maximum() -> None:
    data = [[np.full((1, 3), -2, np.float32), np.full((1, 3), 5, np.float32)]]
    found = calibrate(difference(), data, style="tflite")
    assert (found.ranges["given_b:0"].max, found.ranges["y"].max) == (FLT_MIN, FLT_MIN)
    assert calibrate(difference(), data).ranges["given_b:0"].max == -2


def test_infinite_ranges_are_refused_by_name() -> None:
    data = [np.full((1, 3), 100, np.float32)]
    with pytest.raises(InputError, match="tensor 'y': expected a finite range"):
        calibrate(exponential(), data, style="tflite")
    assert "y" not in calibrate(exponential(), data).ranges


def test_the_moving_average_keeps_the_order() -> None:
    data = [[row, np.zeros((1, 3), np.float32)] for row in np.float32([[[1, 0, 2]], [[1, 0, 4]]])]
    expected = np.float32(0.95) * np.float32(2) + np.float32(1.0 - 0.95) * np.float32(4)
    assert calibrate(difference(), data, style="aeq").ranges["given_b:0"].max == expected
    assert calibrate(difference(), data[::-1], style="aeq").ranges["given_b:0"].max != expected


@pytest.mark.parametrize("name", OBSERVERS)
def test_observers_by_name(name: str) -> None:
    observer = observer_named(name)
    found = calibrate(residual(), images(5), observer=observer)
    assert found.observer == observer.name
    whole = calibrate(residual(), images(5))
    for key, bounds in found.ranges.items():
        assert whole.ranges[key].min <= bounds.min <= bounds.max <= whole.ranges[key].max


@pytest.mark.parametrize("executor", [None, Immediately()])
def test_tensors_may_have_observers_of_their_own(executor: Executor | None) -> None:
    exceptions = {"one": MOVING_AVERAGE, "total": Percentile(90.0)}
    found = calibrate(residual(), images(20), observers=exceptions, executor=executor)
    average = calibrate(residual(), images(20), observer=MOVING_AVERAGE)
    most = calibrate(residual(), images(20), observer=Percentile(90.0))
    usual = calibrate(residual(), images(20))
    wanted = {**usual.ranges, "one": average.ranges["one"], "total": most.ranges["total"]}
    assert dict(found.ranges) == wanted
    assert found.observer == "min-max, with exceptions"
    with pytest.raises(InputError, match="expected shards of the observer"):
        found.merge(usual)


def test_what_cannot_be_calibrated() -> None:
    with pytest.raises(InputError, match="float activations"):
        calibrate(two_layers(), [np.zeros((1, 4), np.int8)])
    with pytest.raises(InputError, match="expected a style among quantref, tflite, aeq, found 'keras'"):
        calibrate(residual(), images(1), style="keras")
    with pytest.raises(InputError, match=r"the style's own observer, min-max, found percentile:99\.0"):
        calibrate(residual(), images(1), style="tflite", observer=Percentile(99.0))
    with pytest.raises(InputError, match="the style's own observer, moving-average, found mse"):
        calibrate(residual(), images(1), style="aeq", observers={"one": observer_named("mse")})
    with pytest.raises(InputError, match="an observer of a float activation, found one of 'first/w'"):
        calibrate(residual(), images(1), observers={"first/w": MIN_MAX})
    with pytest.raises(InputError, match="sample 1: input 'x'"):
        calibrate(residual(), [images(1)[0], images(1)[0] * np.nan])
    with pytest.raises(UnsupportedError, match="Mystery"):
        calibrate(floating(custom_op()), [np.zeros((1, 4), np.float32)])


def floating(model: fbs.Model) -> fbs.Model:
    """Make a model's int8 tensors float32."""
    from dataclasses import replace  # noqa: PLC0415 - only here

    graph = model.subgraphs[0]
    tensors = [replace(t, dtype=DType.FLOAT32) if t.dtype is DType.INT8 else t for t in graph.tensors]
    return replace(model, subgraphs=(replace(graph, tensors=tuple(tensors)),))


# --- Anywhere, in any portions, in constant memory --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["min-max", "moving-average", "percentile:99", "mse", "entropy"])
@pytest.mark.parametrize("portion", [1, 3, 100])
def test_portions_do_not_matter(name: str, portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    serial = calibrate(residual(), images(20), observer=observer_named(name))
    monkeypatch.setattr(calibration, "PORTION", portion)
    executor = Immediately()
    spread = calibrate(residual(), iter(images(20)), observer=observer_named(name), executor=executor)
    assert executor.submitted == -(-20 // portion)
    assert bits(spread) == bits(serial)
    assert spread == serial


@pytest.mark.parametrize("style", ["quantref", "tflite", "aeq"])
def test_threads_give_the_same(style: str) -> None:
    with ThreadPoolExecutor(3) as executor:
        assert calibrate(residual(), images(30), style=style, executor=executor) == calibrate(
            residual(), images(30), style=style
        )


def test_processes_give_the_same() -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        found = calibrate(residual(), images(20), executor=executor)
    assert bits(found) == bits(calibrate(residual(), images(20)))


def test_an_array_that_is_filled_again_and_again_is_no_trap() -> None:
    def reusing() -> Iterator[np.ndarray]:
        buffer = np.empty((1, 4, 4, 2), np.float32)
        for image in images(20):
            buffer[...] = image
            yield buffer

    with ThreadPoolExecutor(2) as executor:
        assert calibrate(residual(), reusing, executor=executor) == calibrate(residual(), images(20))


def test_an_executor_gets_no_more_than_it_can_use_soon() -> None:
    waiting: list[Future[Any]] = []

    class Waiting(Executor):
        def submit(self, *_: Any, **__: Any) -> Future[Any]:
            future: Future[Any] = Future()
            waiting.append(future)
            if len(waiting) == calibration.UNDER_WAY:
                waiting[0].set_exception(KeyboardInterrupt())
            return future

    def endless() -> Iterator[np.ndarray]:
        while True:
            yield images(1)[0]

    with pytest.raises(KeyboardInterrupt):
        calibrate(residual(), endless, executor=Waiting())
    assert len(waiting) == calibration.UNDER_WAY
    assert all(future.cancelled() for future in waiting[1:])


@pytest.mark.parametrize("observer", ["min-max", "mse"])
def test_memory_does_not_grow_with_samples(observer: str) -> None:
    def drawn(count: int) -> Iterator[np.ndarray]:
        for seed in range(count):
            yield np.full((50_000, 2), seed, np.float32)

    def peak(count: int) -> int:
        gc.collect()
        tracemalloc.reset_peak()
        calibrate(any_length(), drawn(count), observer=observer_named(observer))
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        peak(3)  # whatever is imported or cached on first use
        few, many = peak(5), peak(60)
    finally:
        tracemalloc.stop()
    assert many < 1.1 * few + 20_000


def test_progress_is_told() -> None:
    told: list[tuple[int, int | None]] = []
    calibrate(residual(), images(3), progress=lambda done, total: told.append((done, total)))
    calibrate(residual(), iter(images(2)), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3), (1, None), (2, None)]


# --- Overwritten inputs -----------------------------------------------------------------------------------------------


def test_a_convolution_before_an_add_takes_in_the_sum() -> None:
    """Of the ADD's inputs only "two" has no other reader; the SOFTMAX gives the graph's output and shares nothing."""
    assert overwritten_inputs(residual().subgraphs[0]) == [Overwrite(2, source=2, target=3)]
    clean, found = calibrate(residual(), images(9)), calibrate(residual(), images(9), style="tflite")
    union = clean.ranges["two"].union(clean.ranges["total"])
    assert found.ranges["two"] == union != clean.ranges["two"]
    assert {key: found.ranges[key] for key in clean.ranges if key != "two"} == {
        key: bounds for key, bounds in clean.ranges.items() if key != "two"
    }


def chain(*ops: tuple[str, list[str], str], shapes: dict[str, tuple[int, ...]] | None = None) -> fbs.Subgraph:
    """Build a graph from op names, names of inputs and of the output; "x" is the input, "y" the output."""
    builder, numbers = fbs.Builder(), {}
    for name in dict.fromkeys(name for _, inputs, output in ops for name in (*inputs, output)):
        shape = (shapes or {}).get(name, (1, 4))
        if name == "constant":
            numbers[name] = builder.constant(name, np.zeros(shape, np.float32))
        elif name == "state":
            numbers[name] = builder.variable(name, DType.FLOAT32, shape)
        else:
            add = builder.input if name == "x" else builder.tensor
            numbers[name] = add(name, DType.FLOAT32, shape)
    for op, inputs, output in ops:
        builder.op(op, [numbers[name] for name in inputs], [numbers[output]])
    return builder.finish([numbers["y"]]).subgraphs[0]


RELU = ("RELU", ["x"], "a")
END = ("RELU", ["z"], "y")


@pytest.mark.parametrize(
    ("ops", "shapes", "expected"),
    [
        ([RELU, ("ADD", ["a", "constant"], "z"), END], {}, [("a", "z")]),
        ([RELU, ("MUL", ["constant", "a"], "z"), END], {}, [("a", "z")]),
        ([RELU, ("SOFTMAX", ["a"], "z"), END], {}, [("a", "z")]),
        ([RELU, ("LOGISTIC", ["a"], "z"), END], {}, []),  # another op
        ([RELU, ("ADD", ["a", "constant"], "y")], {}, []),  # gives the graph's output
        ([("ADD", ["x", "constant"], "z"), END], {}, []),  # reads the graph's input
        ([("ADD", ["state", "constant"], "z"), END, RELU], {}, []),  # reads a variable
        ([RELU, ("ADD", ["a", "a"], "z"), END], {}, []),  # read twice
        ([RELU, ("ADD", ["a", "constant"], "z"), ("SUB", ["z", "a"], "y")], {}, []),  # read again later
        ([RELU, ("ADD", ["a", "constant"], "z"), END], {"z": (4, 4)}, []),  # another size
        ([RELU, ("ADD", ["a", "constant"], "z"), END], {"a": (1,), "z": (1,)}, []),  # too small
        ([RELU, ("RELU", ["x"], "b"), ("DIV", ["b", "a"], "z"), END], {"b": (1,)}, [("a", "z")]),  # the second fits
        ([RELU, ("RESHAPE", ["a", "constant"], "b"), ("ADD", ["b", "constant"], "z"), END], {}, [("b", "z")]),
        (  # the memory behind a RESHAPE is read elsewhere
            [RELU, ("RESHAPE", ["a", "constant"], "b"), ("ADD", ["b", "constant"], "z"), ("SUB", ["z", "a"], "y")],
            {},
            [],
        ),
        ([RELU, ("ADD", ["a", "constant"], "b"), ("SUB", ["b", "constant"], "z"), END], {}, [("a", "b"), ("b", "z")]),
    ],
)
def test_the_planners_rules(
    ops: list[Any], shapes: dict[str, tuple[int, ...]], expected: list[tuple[str, str]]
) -> None:
    graph = chain(*ops, shapes=shapes)
    names = [tensor.name for tensor in graph.tensors]
    assert [(names[found.source], names[found.target]) for found in overwritten_inputs(graph)] == expected


def test_actual_sizes_decide() -> None:
    graph = chain(RELU, ("ADD", ["a", "constant"], "z"), END)
    names = {tensor.name: index for index, tensor in enumerate(graph.tensors)}
    assert overwritten_inputs(graph, {names["a"]: 16, names["z"]: 64}) == []


def test_pollution_does_not_travel_up_a_chain() -> None:
    extents = {n: Extent(np.float32(-n), np.float32(n)) for n in (1, 2, 3)}
    found = polluted(extents, [Overwrite(0, 1, 2), Overwrite(1, 2, 3), Overwrite(2, 3, 4)])
    assert {n: int(extent.maximum) for n, extent in found.items()} == {1: 2, 2: 3, 3: 3}


# --- The converters' own statistics -----------------------------------------------------------------------------------


def ulps(one: np.float32, other: np.float32) -> int:
    return abs(int(one.view(np.int32)) - int(other.view(np.int32)))


def compare(found: Statistics, wanted: Statistics) -> tuple[int, int]:
    """Return how many zero points agree, and by how many units in the last place scales differ at most."""
    assert wanted.ranges
    pairs = [
        [asymmetric_params(bounds.min, bounds.max) for bounds in (found.ranges[key], wanted.ranges[key])]
        for key in wanted.ranges
        if key in found.ranges
    ]
    return sum(int(a.zero_point[0] == b.zero_point[0]) for a, b in pairs), max(
        ulps(a.scale[0], b.scale[0]) for a, b in pairs
    )


#: Models that TFLiteConverter and the AI Edge Quantizer calibrated, and how many tensors each has.
CALIBRATED = {"convnet": (9, 9), "mixed16": (31, 31), "ties": (8, 8), "edge": (32, 30), "lstm": (10, 5)}


@pytest.mark.shared
@pytest.mark.parametrize("name", CALIBRATED)
def test_the_converters_find_the_same(name: str, shared: Path) -> None:
    folder = shared / "converter"
    model, data = folder / f"{name}.float32.tflite", folder / f"{name}.repdata.npz"
    tflite = statistics_from_calibrated(qr.load(folder / f"{name}.calibrated.tflite"))
    zero_points, distance = compare(calibrate(model, data, style="tflite"), tflite)
    assert zero_points == CALIBRATED[name][0]
    assert distance <= 16
    aeq = load_aeq_statistics(folder / f"{name}.aeq_static_wi8_ai8.calibration.json")
    zero_points, distance = compare(calibrate(model, data, style="aeq"), aeq)
    assert zero_points == CALIBRATED[name][1]
    assert distance <= 16


def test_the_default_observers_are_the_styles_own() -> None:
    assert bits(calibrate(residual(), images(3), observer=MIN_MAX)) == bits(calibrate(residual(), images(3)))
    assert bits(calibrate(residual(), images(3), observer=MOVING_AVERAGE)) == bits(
        calibrate(residual(), images(3), style="aeq")
    )
