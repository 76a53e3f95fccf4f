"""Explains an element by the op that computes it, on the inputs that the op meets in a run of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

import fbs
from kernels.engine import registry
from kernels.engine.types import Inputs, Outputs, Prepared
from qmath.errors import InputError, UnsupportedError
from qmath.requantize import Regime, Requantize
from qmath.types import Array, FixedPointMultiplier
from quantref.control_flow import HANDLERS
from quantref.execution import Graph
from quantref.explain import alternatives
from quantref.explain.alternatives import Requantized
from quantref.explain.derivation import Scales, derive, derive_fixed
from quantref.explain.document import Explanation
from quantref.explain.explanation import Element, Operand, Step, Sum
from quantref.explain.sources import Trial, sources_of, sum_of
from quantref.explain.steps import INPUTS, at_time, is_recurrent, place_in, scalar, steps_of, terms_at
from quantref.inspect import in_words
from quantref.names import tensor_keys
from quantref.parameters import holders
from quantref.recording import Recorder, Stage
from quantref.roles import role

#: A sum of more elements than this is not listed where nobody says which products it has.
MAX_SOURCES = 1 << 12


@dataclass(frozen=True)
class Operation:
    """One op on the inputs that it met, evaluated by its literal definition.

    Attributes
    ----------
    graph, index
        Where it is.
    view, prepared
        How its kernel sees it, and what preparing it gave.
    inputs, outputs, stages
        What went in, what came out, and what happened.

    """

    graph: Graph
    index: int
    view: fbs.OpView
    prepared: Prepared
    inputs: Inputs
    outputs: Outputs
    stages: tuple[Stage, ...]

    @property
    def operator(self) -> fbs.Operator:
        """The operator of the file."""
        return self.graph.subgraph.operators[self.index]


def tensor_number(subgraph: fbs.Subgraph, tensor: str | int) -> int:
    """Return the number of a tensor that is given by name, by ``index:name`` or by number.

    Raises
    ------
    InputError
        There is none, or several have the name.

    """
    if isinstance(tensor, int):
        if not 0 <= tensor < len(subgraph.tensors):
            raise InputError(f"expected a tensor below {len(subgraph.tensors)}, found {tensor}")
        return tensor
    keys = tensor_keys(subgraph)
    numbered = [f"{number}:{found.name}" for number, found in enumerate(subgraph.tensors)]
    for names in (keys, numbered):
        if tensor in names:
            return names.index(tensor)
    same = [keys[number] for number, found in enumerate(subgraph.tensors) if found.name == tensor]
    if same:
        raise InputError(f"expected one of {', '.join(same)}, found the name {tensor!r}, which repeats")
    raise InputError(f"expected the name or number of a tensor, found {tensor!r}; there are {', '.join(keys)}")


def evaluate(graph: Graph, number: int) -> Operation:
    """Run the ops that a tensor depends on, and the one that gives it by its literal definition.

    Raises
    ------
    InputError
        No op gives the tensor.
    UnsupportedError
        The op that does calls other subgraphs.

    """
    keys = tensor_keys(graph.subgraph)
    giving = [index for index, operator in enumerate(graph.subgraph.operators) if number in operator.outputs]
    if not giving:
        raise InputError(f"expected a tensor that an op gives, found {keys[number]!r}, an input, constant or variable")
    last = giving[-1]
    operator = graph.subgraph.operators[last]
    if operator.name in HANDLERS:
        raise UnsupportedError(f"{keys[number]!r} comes out of {operator.name}, which is not explained")
    for index in depended_on(graph.subgraph, last):
        graph.store(index, graph.run_op(index, graph.inputs_of(index)))
    inputs = graph.inputs_of(last)
    recorder = Recorder(keep_terms=True)
    outputs = graph.evaluate_op(last, inputs, recorder)
    view = graph.view(last, [None if array is None else array.shape for array in inputs])
    return Operation(graph, last, view, graph.prepared(last), inputs, outputs, recorder.stages)


def depended_on(subgraph: fbs.Subgraph, last: int) -> list[int]:
    """Return the ops in front of one that it depends on, by their outputs or by the state that they keep."""
    needed, found = set(subgraph.operators[last].inputs), []
    for index in range(last - 1, -1, -1):
        operator = subgraph.operators[index]
        kept = {number for number in operator.inputs if number >= 0 and subgraph.tensors[number].is_variable}
        if operator.name in HANDLERS or needed & (kept | set(operator.outputs)):
            needed |= set(operator.inputs)
            found.append(index)
    return found[::-1]


def explain_element(done: Operation, number: int, index: Sequence[int]) -> Explanation:
    """Explain one element of an output of an op.

    Raises
    ------
    InputError
        There is no such element.

    """
    slot = done.operator.outputs.index(number)
    values = done.outputs[slot]
    at = _checked(index, values.shape)
    element = _element(done.graph.subgraph, number, "output", values[at], at)
    steps = list(steps_of(*at_time(done.stages, values, at)))
    if not steps or steps[-1].value != element.value:
        steps.append(Step("output", element.value))
    scales = Scales.of(done.view, at[-1] if at else 0)
    regime, requantized = _requantized(done, values.shape, at) or (None, None)
    summed = _sum(done, at) if slot == 0 else None
    profile = done.graph.session.profile
    return Explanation(
        model=done.graph.session.model.path.name if done.graph.session.model.path else "model",
        profile=profile.name,
        kernel_of=registry.profile_running(done.view, profile).name,
        op_index=done.index,
        op_name=done.operator.name,
        operands=_operands(done, number),
        output=element,
        sum=summed,
        sources=() if summed and _lists_inputs(summed) else _sources(done, slot, at),
        steps=tuple(_derived(step, scales) for step in steps),
        constants=tuple(_constants(done.prepared, scales)),
        unrounded=None if requantized is None else requantized.accumulator * requantized.real_multiplier,
        regimes=()
        if requantized is None or regime is None
        else alternatives.regimes(requantized, regime, element.value),
        profiles=alternatives.profiles(done.view, done.inputs, slot, at, profile, element.value),
    )


def _operands(done: Operation, number: int) -> tuple[Operand, ...]:
    tensors = done.graph.subgraph.tensors
    read = [(role(done.view, slot), given) for slot, given in enumerate(done.operator.inputs) if given >= 0]
    keys = tensor_keys(done.graph.subgraph)
    found = []
    for name, given in (*read, ("output", number)):
        tensor, value = tensors[given], done.graph.values[given]
        shape = tensor.shape if value is None or given == number else value.shape
        found.append(Operand(name, keys[given], tensor.dtype.name.lower(), shape, in_words(tensor.quant)))
    return tuple(found)


def _checked(index: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    at = tuple(int(i) + (size if i < 0 else 0) for i, size in zip(index, shape, strict=False))
    if len(index) != len(shape) or any(not 0 <= i < size for i, size in zip(at, shape, strict=True)):
        raise InputError(f"expected the index of an element of shape {list(shape)}, found {list(index)}")
    return at


def _element(subgraph: fbs.Subgraph, number: int, name: str, value: Array, at: tuple[int, ...]) -> Element:
    tensor, quant = subgraph.tensors[number], subgraph.tensors[number].quant
    key, plain = tensor_keys(subgraph)[number], scalar(np.asarray(value))
    if quant is None or not tensor.dtype.is_integer:
        return Element(key, name, at, plain)
    channel = at[quant.quantized_dimension] if quant.per_axis and quant.quantized_dimension < len(at) else 0
    channel = min(channel, quant.scale.size - 1)
    return Element(key, name, at, plain, int(quant.zero_point[channel]), float(quant.scale[channel]))


def _sum(done: Operation, at: tuple[int, ...]) -> Sum | None:
    products = done.prepared.products(done.inputs, at)
    stage = next((stage for stage in done.stages if products and stage.name == products.stage), None)
    place = None if stage is None else place_in(stage.value, done.outputs[0].shape, at)
    if products is None or stage is None or place is None:
        return None

    def element(source: int | str, where: tuple[int, ...]) -> Element:
        return _source(done, source, where)

    return sum_of(products, partial(_array, done), scalar(stage.value[place]), element)


def _lists_inputs(summed: Sum) -> bool:
    """Whether a sum lists elements of the op's inputs, as they are or quantized, and not what was made of them."""
    factors = summed.products[0].factors if summed.products else ()
    return all(factor.role in INPUTS or factor.tensor != factor.role for factor in factors)


def _array(done: Operation, source: int | str) -> Array | None:
    if isinstance(source, int):
        return done.inputs[source] if source < len(done.inputs) else None
    return next((stage.value for stage in done.stages if stage.name == source), None)


def _source(done: Operation, source: int | str, at: tuple[int, ...]) -> Element:
    array = _array(done, source)
    if array is None:
        raise InputError(f"expected a tensor as input {source}, found none")
    if isinstance(source, str):
        return Element(source, source, at, scalar(array[at]))
    return _element(done.graph.subgraph, done.operator.inputs[source], role(done.view, source), array[at], at)


def _sources(done: Operation, slot: int, at: tuple[int, ...]) -> tuple[Element, ...]:
    """Return the elements of the inputs that an element comes from; of recurrent ops it is nearly all of them."""
    found: list[Element] = []
    if is_recurrent(done.stages):
        return ()
    for source, marked in sources_of(Trial(done.prepared, done.inputs, slot, at)):
        places = np.argwhere(marked)[:MAX_SOURCES]
        found += [_source(done, source, tuple(int(i) for i in place)) for place in places]
    return tuple(found)


def _derived(step: Step, scales: Scales) -> Step:
    """Say how a real multiplier follows from the scales."""
    real = isinstance(step.value, int | float) and step.stage.startswith("real multiplier")
    if not real:
        return step
    derived = derive(scales, float(step.value))
    return replace(derived, stage=step.stage)


def _constants(prepared: Prepared, scales: Scales) -> list[Step]:
    """Say how multipliers that are no requantization's follow from the scales, such as those of ADD's inputs."""
    inside = {id(held.factor) for held in holders(prepared, Requantize).values()}
    found = []
    for place, factor in holders(prepared, FixedPointMultiplier).items():
        if id(factor) not in inside and np.ndim(factor.multiplier) == 0:
            step = derive_fixed(scales, factor)
            if step is not None:
                encoded = f"{int(factor.multiplier)} * 2**({int(factor.shift)} - 31)"
                found.append(replace(step, stage=place, remark=f"encoded as {encoded}"))
    return found


def _requantized(done: Operation, shape: tuple[int, ...], at: tuple[int, ...]) -> tuple[Regime, Requantized] | None:
    """Return the one requantization that the op ends with, and how it rounds; None if it has another form."""
    held = list(holders(done.prepared, Requantize).values())
    by_name = {stage.name: stage for stage in done.stages}
    names = list(by_name)
    if len(held) != 1 or names.count("real multiplier") != 1 or "clamped" not in names:
        return None
    after = names[names.index("real multiplier") + 1 :]
    scaled = next((by_name[name] for name in after if "accumulator" in by_name[name].terms), None)
    place = None if scaled is None else place_in(scaled.value, shape, at)
    real = by_name["real multiplier"].value
    channel = place_in(real, shape, at)
    if scaled is None or place is None or channel is None:
        return None
    added, clamped = (terms_at(by_name[name], place) for name in ("zero point added", "clamped"))
    accumulator, zero_point = terms_at(scaled, place)["accumulator"], added["zero_point"]
    low, high = clamped["low"], clamped["high"]
    found = Requantized(int(accumulator), float(real[channel]), int(zero_point), int(low), int(high))
    return held[0].regime, found
