"""Graphs that run often are laid out on fixed memory; every tensor stays what the ops' definitions give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fbs
from qmath.types import DType
from quantref import Interpreter
from quantref.arena import Arena
from quantref.execution import RUNS_UNTIL_LAID_OUT
from tests.quantref.small_models import two_layers

RUNS = RUNS_UNTIL_LAID_OUT + 2


class Network:
    """Builds ops on images of int8 or int16 one after the other, with weights that fill their range."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0, dtype: DType = DType.INT8) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = fbs.Builder(description="network")
        self.dtype, self.is_wide = dtype, dtype is DType.INT16
        self.x = self.builder.input("x", dtype, shape, scale=0.05, zero_point=0 if self.is_wide else 3)
        self.shapes = {self.x: shape}

    def tensor(self, shape: tuple[int, ...], scale: float = 0.07) -> int:
        """Add an activation."""
        zero_point = 0 if self.is_wide else -5
        number = self.builder.tensor(f"t{len(self.shapes)}", self.dtype, shape, scale=scale, zero_point=zero_point)
        self.shapes[number] = shape
        return number

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[int, int]:
        """Add a filter, scaled per axis, and a bias."""
        channels = shape[axis]
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        scale = self.rng.uniform(0.0005, 0.004, channels).astype(np.float32)
        zeros = np.zeros(channels, int)
        filter_ = self.builder.constant("w", values, scale=scale, zero_point=zeros, quantized_dimension=axis)
        bias_type = np.int64 if self.is_wide else np.int32
        bias = self.builder.constant("b", self.rng.integers(-3000, 3000, channels).astype(bias_type))
        return filter_, bias

    def convolve(self, x: int, channels: int, kernel: int = 3, stride: int = 1, activation: int = 1) -> int:
        """Add a CONV_2D with SAME padding."""
        n, h, w, c = self.shapes[x]
        filter_, bias = self.weights((channels, kernel, kernel, c), 0)
        y = self.tensor((n, -(-h // stride), -(-w // stride), channels))
        options = {"stride_h": stride, "stride_w": stride, "fused_activation_function": activation}
        self.builder.op("CONV_2D", [x, filter_, bias], [y], version=3, **options)
        return y

    def depthwise(self, x: int, stride: int = 1, multiplier: int = 1) -> int:
        """Add a 3x3 DEPTHWISE_CONV_2D with SAME padding."""
        n, h, w, c = self.shapes[x]
        filter_, bias = self.weights((1, 3, 3, c * multiplier), 3)
        y = self.tensor((n, -(-h // stride), -(-w // stride), c * multiplier))
        options = {"stride_h": stride, "stride_w": stride, "depth_multiplier": multiplier}
        self.builder.op("DEPTHWISE_CONV_2D", [x, filter_, bias], [y], version=3, **options)
        return y

    def add(self, first: int, second: int) -> int:
        """Add an ADD."""
        y = self.tensor(self.shapes[first], 0.11)
        self.builder.op("ADD", [first, second], [y], version=2)
        return y

    def plain(self, op: str, x: int) -> int:
        """Add an op with neither options nor constants."""
        y = self.builder.tensor(op.lower(), DType.INT8, self.shapes[x], scale=1 / 256, zero_point=-128)
        self.shapes[y] = self.shapes[x]
        self.builder.op(op, [x], [y], version=2)
        return y

    def reshape(self, x: int, shape: tuple[int, ...]) -> int:
        """Add a RESHAPE; the batch stays open."""
        y = self.tensor(shape)
        wanted = [-1, *shape[1:]]
        self.builder.op("RESHAPE", [x, self.builder.constant("s", np.array(wanted, np.int32))], [y], new_shape=wanted)
        return y

    def mean(self, x: int, *, keep_dims: bool = False) -> int:
        """Add a MEAN over height and width."""
        n, _, _, c = self.shapes[x]
        y = self.tensor((n, 1, 1, c) if keep_dims else (n, c), 0.03)
        axes = self.builder.constant("axes", np.array([1, 2], np.int32))
        self.builder.op("MEAN", [x, axes], [y], version=2, keep_dims=keep_dims)
        return y

    def dense(self, x: int, units: int) -> int:
        """Add a FULLY_CONNECTED without bias."""
        values = self.rng.integers(-127, 128, (units, self.shapes[x][-1])).astype(np.int8)
        weights = self.builder.constant("w", values, scale=0.003)
        y = self.tensor((self.shapes[x][0], units))
        self.builder.op("FULLY_CONNECTED", [x, weights, -1], [y], version=4)
        return y

    def finish(self, *outputs: int) -> fbs.Model:
        """Return the model."""
        return self.builder.finish(list(outputs))


def residual(batch: int = 1) -> fbs.Model:
    """A tensor with three readers, two of which pad it differently; an op that is not laid out between two that are."""
    net = Network((batch, 9, 8, 3))
    stem = net.convolve(net.x, 8, stride=2)
    long_way = net.convolve(net.depthwise(net.convolve(stem, 12, kernel=1)), 8, kernel=1, activation=0)
    joined = net.add(stem, long_way)
    wide = net.convolve(joined, 6, kernel=5)
    squashed = net.plain("LOGISTIC", net.add(joined, net.convolve(joined, 8, activation=0)))
    strided = net.depthwise(net.convolve(squashed, 4, kernel=1), stride=2, multiplier=2)
    n, h, w, c = net.shapes[strided]
    flat = net.reshape(strided, (n, h * w * c))
    return net.finish(net.dense(net.dense(flat, 16), 5), wide, flat, net.dense(net.mean(joined), 3))


def doubled() -> fbs.Model:
    """An op that reads one tensor twice, and a tensor that is read in two shapes."""
    net = Network((1, 4, 4, 8), seed=1)
    y = net.convolve(net.x, 8, kernel=1)
    twice = net.add(y, y)
    flat = net.reshape(twice, (1, 128))
    return net.finish(net.dense(flat, 7), net.convolve(twice, 8))


def padded_otherwise() -> fbs.Model:
    """A tensor that two ops pad to the same size, one of them at one end only."""
    net = Network((1, 7, 8, 6), seed=3)
    y = net.convolve(net.x, 8, kernel=1)
    return net.finish(net.convolve(y, 5), net.depthwise(y, stride=2))


def wide() -> fbs.Model:
    """16-bit activations, with a residual sum between ops that are laid out."""
    net = Network((2, 7, 6, 5), seed=2, dtype=DType.INT16)
    stem = net.convolve(net.x, 8, kernel=1)
    joined = net.add(stem, net.convolve(net.depthwise(stem), 8, kernel=1, activation=0))
    return net.finish(net.convolve(joined, 4, stride=2), joined, net.mean(joined, keep_dims=True))


def any_network(seed: int, batch: int, dtype: DType) -> fbs.Model:
    """Ops that are drawn at random, on tensors that are drawn from all those before."""
    net, rng = Network((batch, 7, 8, 4), seed, dtype), np.random.default_rng(seed)
    images = [net.convolve(net.x, 8, kernel=1)]
    for _ in range(9):
        x = images[-1] if rng.random() < 0.6 else images[rng.integers(len(images))]
        alike = [other for other in images if net.shapes[other] == net.shapes[x]]
        stride = int(rng.integers(1, 3))
        match rng.integers(5):
            case 0:
                images.append(net.convolve(x, int(rng.choice([3, 8])), kernel=1))
            case 1:
                images.append(net.convolve(x, 8, int(rng.choice([2, 3, 5])), stride, int(rng.integers(2))))
            case 2:
                images.append(net.depthwise(x, stride, int(rng.choice([1, 1, 2]))))
            case 3:
                images.append(net.add(x, alike[rng.integers(len(alike))]))
            case 4:
                n, h, w, c = net.shapes[x]
                images.append(net.reshape(x, (n, w, h, c)))
    n, h, w, c = net.shapes[images[-1]]
    mean, flat = net.mean(images[rng.integers(len(images))]), net.reshape(images[-1], (n, h * w * c))
    return net.finish(mean, flat if net.is_wide else net.dense(flat, 5), images[rng.integers(len(images))])


MODELS = {
    "wide": wide(),
    "residual": residual(),
    "batch": residual(4),
    "doubled": doubled(),
    "padded otherwise": padded_otherwise(),
    "two layers": two_layers(),
}


def every_tensor(interpreter: Interpreter) -> dict[int, np.ndarray]:
    """Return a copy of each tensor that has a value."""
    count = len(interpreter.graph.subgraph.tensors)
    return {number: interpreter.get_tensor(number) for number in range(count)}


def expect_equal(found: dict[int, np.ndarray], expected: dict[int, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for number, value in found.items():
        assert value.dtype == expected[number].dtype
        np.testing.assert_array_equal(value, expected[number], err_msg=f"tensor {number}")


def set_input(interpreter: Interpreter, seed: int) -> None:
    (number,) = interpreter.graph.subgraph.inputs
    shape = interpreter.get_tensor(number).shape
    info = np.iinfo(interpreter.get_tensor(number).dtype)
    values = np.random.default_rng(seed).integers(info.min, info.max + 1, shape)
    interpreter.set_tensor(number, values.astype(info.dtype))


def by_definition(interpreter: Interpreter) -> dict[int, np.ndarray]:
    """Return every tensor that the definitions give, op by op, for the input that is set."""
    graph = interpreter.graph
    values = dict(enumerate(tensor.data for tensor in graph.subgraph.tensors))
    values |= {number: interpreter.get_tensor(number) for number in graph.subgraph.inputs}
    for index, operator in enumerate(graph.subgraph.operators):
        inputs = [values[number] if number >= 0 else None for number in operator.inputs]
        values |= zip(operator.outputs, interpreter.evaluate_op(index, inputs), strict=True)
    return values


def interpreter_of(model: fbs.Model, profile: str = "litert-reference", threads: int | None = None) -> Interpreter:
    interpreter = Interpreter(model, profile, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def run_often(interpreter: Interpreter) -> None:
    """Run on other inputs each time, until the graph has been laid out and has run so."""
    for seed in range(RUNS):
        set_input(interpreter, seed)
        interpreter.invoke()


@pytest.mark.parametrize("threads", [None, 2, 3])
@pytest.mark.parametrize("profile", ["litert-reference", "litert-optimized", "xnnpack", "tflm"])
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_is_what_the_definitions_give(name, profile, threads, monkeypatch):
    monkeypatch.setattr("quantref.teamwork.WORTH_SHARING", 0)
    monkeypatch.setattr("kernels.engine.requantized.WORTH_SHARING", 0)
    interpreter = interpreter_of(MODELS[name], profile, threads)
    for seed in range(RUNS):
        set_input(interpreter, seed)
        interpreter.invoke()
        expect_equal(every_tensor(interpreter), by_definition(interpreter))
    assert interpreter.graph.is_laid_out


@pytest.mark.parametrize("resident", [0, 1 << 10, 1 << 30])
def test_tensors_may_stay_in_their_own_type(resident, monkeypatch):
    monkeypatch.setattr("quantref.arena.RESIDENT", resident)
    interpreter = interpreter_of(residual(2))
    run_often(interpreter)
    expect_equal(every_tensor(interpreter), by_definition(interpreter))


@pytest.fixture
def recalculations(monkeypatch):
    """Let tensors of any size share memory, and record where lost ones are calculated once more."""
    monkeypatch.setattr("quantref.arena.WORTH_SAVING", -(1 << 30))
    done = []
    original = Arena.calculate_from

    def recorded(arena: Arena, other: Arena) -> None:
        done.append(other.lost)
        original(arena, other)

    monkeypatch.setattr(Arena, "calculate_from", recorded)
    return done


@pytest.mark.parametrize("profile", ["litert-reference", "xnnpack"])
@pytest.mark.parametrize("name", MODELS)
def test_tensors_share_memory_until_somebody_asks_for_one(name, profile, recalculations):
    interpreter = interpreter_of(MODELS[name], profile)
    run_often(interpreter)
    expected, outputs = by_definition(interpreter), interpreter.graph.subgraph.outputs
    expect_equal({n: interpreter.get_tensor(n) for n in outputs}, {n: expected[n] for n in outputs})
    assert recalculations == []
    set_input(interpreter, RUNS)  # what is calculated once more is that of the last run
    (number,) = interpreter.graph.subgraph.inputs
    expect_equal(every_tensor(interpreter) | {number: expected[number]}, expected)
    assert len(recalculations) == 1
    interpreter.invoke()
    expect_equal(every_tensor(interpreter), by_definition(interpreter))
    assert len(recalculations) == 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1 << 20),
    batch=st.sampled_from([1, 1, 2, 3]),
    threads=st.sampled_from([None, 2, 3]),
    dtype=st.sampled_from([DType.INT8, DType.INT8, DType.INT16]),
)
def test_any_network(seed, batch, threads, dtype, recalculations, monkeypatch):
    monkeypatch.setattr("quantref.teamwork.WORTH_SHARING", 0)
    interpreter = interpreter_of(any_network(seed, batch, dtype), threads=threads)
    run_often(interpreter)
    expected, outputs = by_definition(interpreter), interpreter.graph.subgraph.outputs
    expect_equal({n: interpreter.get_tensor(n) for n in outputs}, {n: expected[n] for n in outputs})
    expect_equal(every_tensor(interpreter), expected)


def test_memory_is_shared(recalculations):
    interpreter = interpreter_of(residual())
    run_often(interpreter)
    interpreter.get_tensor(max(interpreter.graph.subgraph.operators[1].outputs))
    (lost,) = recalculations
    made = {number for operator in interpreter.graph.subgraph.operators for number in operator.outputs}
    assert lost < made
    assert not lost & set(interpreter.graph.subgraph.outputs)


def test_a_lost_tensor_may_be_set(recalculations):
    interpreter = interpreter_of(residual())
    run_often(interpreter)
    number = interpreter.graph.subgraph.operators[0].outputs[0]
    value = np.full(interpreter.get_tensor_details()[number]["shape"], 7, np.int8)
    assert recalculations == []
    interpreter.set_tensor(number, value)
    expected = by_definition(interpreter) | {number: value}
    expect_equal(every_tensor(interpreter), expected)


def test_threads_share_memory(recalculations, monkeypatch):
    monkeypatch.setattr("quantref.teamwork.WORTH_SHARING", 0)
    monkeypatch.setattr("kernels.engine.requantized.WORTH_SHARING", 0)
    for batch in (1, 4):
        interpreter = interpreter_of(residual(batch), threads=2)
        run_often(interpreter)
        expected, outputs = by_definition(interpreter), interpreter.graph.subgraph.outputs
        expect_equal({n: interpreter.get_tensor(n) for n in outputs}, {n: expected[n] for n in outputs})
        expect_equal(every_tensor(interpreter), expected)
    assert len(recalculations) == 2


def test_another_shape_after_memory_was_shared(recalculations):
    interpreter = interpreter_of(residual())
    run_often(interpreter)
    (number,) = interpreter.graph.subgraph.inputs
    interpreter.resize_tensor_input(number, (2, 9, 8, 3))
    interpreter.allocate_tensors()
    set_input(interpreter, 1)
    interpreter.invoke()
    expect_equal(every_tensor(interpreter), by_definition(interpreter))
    assert not recalculations  # nobody can read what another shape gave


def test_another_shape_without_notice_after_memory_was_shared(recalculations):
    interpreter = interpreter_of(residual())
    run_often(interpreter)
    (number,) = interpreter.graph.subgraph.inputs
    interpreter.graph.assign(number, np.ones((2, 9, 8, 3), interpreter.get_tensor(number).dtype))
    interpreter.invoke()
    expect_equal(every_tensor(interpreter), by_definition(interpreter))
    assert len(recalculations) == 1


def test_large_matrices_are_kept_narrow(monkeypatch):
    monkeypatch.setattr("kernels.engine.plans.LARGE", 0)
    for name in ("residual", "wide"):
        interpreter = interpreter_of(MODELS[name])
        run_often(interpreter)
        expect_equal(every_tensor(interpreter), by_definition(interpreter))


def test_large_images_are_cut_into_bands(monkeypatch):
    monkeypatch.setattr("kernels.engine.requantized.BAND", 64)
    interpreter = interpreter_of(residual())
    run_often(interpreter)
    expect_equal(every_tensor(interpreter), by_definition(interpreter))


def test_outputs_of_earlier_runs_stay_as_they_were():
    interpreter = interpreter_of(residual())
    outputs = interpreter.graph.subgraph.outputs
    run_often(interpreter)
    kept = [interpreter.tensor(number)() for number in outputs]
    copies = [array.copy() for array in kept]
    set_input(interpreter, RUNS)
    interpreter.invoke()
    for array, copied, number in zip(kept, copies, outputs, strict=True):
        np.testing.assert_array_equal(array, copied)
        assert not np.array_equal(array, interpreter.get_tensor(number))


def test_another_shape_is_laid_out_anew():
    interpreter = interpreter_of(residual())
    (number,) = interpreter.graph.subgraph.inputs
    for batch in (1, 3, 1):
        interpreter.resize_tensor_input(number, (batch, 9, 8, 3))
        interpreter.allocate_tensors()
        for seed in range(RUNS):
            set_input(interpreter, seed)
            interpreter.invoke()
            assert interpreter.get_tensor(interpreter.graph.subgraph.outputs[0]).shape == (batch, 5)
        assert interpreter.graph.is_laid_out
        expect_equal(every_tensor(interpreter), by_definition(interpreter))


def test_a_tensor_that_is_set_keeps_its_value_until_the_next_run():
    interpreter = interpreter_of(residual())
    run_often(interpreter)
    before = every_tensor(interpreter)
    hidden = interpreter.graph.subgraph.operators[0].outputs[0]
    interpreter.set_tensor(hidden, np.zeros_like(before[hidden]))
    assert not interpreter.get_tensor(hidden).any()
    interpreter.invoke()
    expect_equal(every_tensor(interpreter), before)


def test_quick_plans_lay_nothing_out():
    interpreter = Interpreter(residual(), plan="quick")
    interpreter.allocate_tensors()
    for _ in range(RUNS):
        interpreter.invoke()
    assert not interpreter.graph.is_laid_out
