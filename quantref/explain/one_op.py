"""Explains an element by the op that computes it, on the inputs that the op meets in a run of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

import fbs
from kernels.engine import registry
from kernels.engine.types import Inputs, OpView, Outputs, Prepared
from qmath.errors import InputError, UnsupportedError
from qmath.requantize import Regime, Requantize
from qmath.types import Array
from quantref.control_flow import HANDLERS
from quantref.execution import Graph
from quantref.explain import alternatives
from quantref.explain.alternatives import Requantized
from quantref.explain.derivation import Scales, channel_of, explained, introduced, remarked
from quantref.explain.document import Explanation
from quantref.explain.explanation import Element, Operand, Step, Sum, number
from quantref.explain.sources import Trial, sources_of, sum_of
from quantref.explain.steps import (
    CODES,
    at_time,
    is_recurrent,
    place_in,
    scalar,
    steps_of,
    steps_of_part,
    steps_to_code,
    terms_at,
)
from quantref.inspect import OPTION_ENUMS
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
    element = _element(done, number, "output", values[at], at)
    regime, requantized = _requantized(done, values.shape, at) or (None, None)
    summed = _sum(done, at) if slot == 0 else None
    sources = _sources(done, slot, at, summed)
    scales = Scales.of(done.view, at, slot)
    found = {step.stage: step for step in _steps_to_code(done, summed)}
    found |= {step.stage: step for step in steps_of(*at_time(done.stages, values, at)) if step.stage not in found}
    steps = explained(done.view, scales, list(found.values()))
    if not steps or steps[-1].value != element.value:
        steps.append(_moved(sources, element))
    profile = done.graph.session.profile
    return Explanation(
        model=done.graph.session.model.path.name if done.graph.session.model.path else "model",
        profile=profile.name,
        kernel_of=registry.profile_running(done.view, profile).name,
        op_index=done.index,
        op_name=done.operator.name,
        operands=_operands(done, number, at),
        options=_options(done.view),
        output=element,
        sum=None if summed is None else summed.found,
        inner=None if summed is None else summed.inner,
        sources=sources,
        steps=tuple(remarked(step) for step in steps),
        constants=tuple(introduced(done.view, scales, steps)),
        unrounded=None if requantized is None else requantized.accumulator * requantized.real_multiplier,
        regimes=()
        if requantized is None or regime is None
        else alternatives.regimes(requantized, regime, element.value),
        profiles=alternatives.profiles(done.view, done.inputs, slot, at, profile, element.value),
    )


def _operands(done: Operation, number: int, at: tuple[int, ...]) -> tuple[Operand, ...]:
    tensors, slot = done.graph.subgraph.tensors, done.operator.outputs.index(number)
    keys = tensor_keys(done.graph.subgraph)
    read = [
        (role(done.view, place), given, done.inputs[place])
        for place, given in enumerate(done.operator.inputs)
        if given >= 0
    ]
    hidden = [("hidden", given, None) for given in done.operator.intermediates[-1:]]
    found = []
    for name, given, value in (*read, *hidden, ("output", number, done.outputs[slot])):
        tensor = tensors[given]
        shape = tensor.shape if value is None else value.shape
        found.append(Operand(name, keys[given], tensor.dtype.name.lower(), shape, _scale_of(done, tensor, at)))
    return tuple(found)


def _scale_of(done: Operation, tensor: fbs.Tensor, at: tuple[int, ...]) -> str:
    """Return the scale and zero point that go with an element, to the last digit."""
    if tensor.quant is None:
        return ""
    channel, count = channel_of(done.view, tensor, at), tensor.quant.scale.size
    along = f" (channel {channel} of {count}, axis {tensor.quant.quantized_dimension})" if count > 1 else ""
    return f"{number(float(tensor.quant.scale[channel]))}, {int(tensor.quant.zero_point[channel])}{along}"


def _options(op: OpView) -> str:
    """Return the op's options in a few words."""
    return ", ".join(f"{name} {_in_words(name, value)}" for name, value in op.options.items())


def _in_words(name: str, value: object) -> str:
    kind = OPTION_ENUMS.get(name)
    return str(value) if kind is None else next((m.name for m in kind if m.value == value), str(value))


def _checked(index: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    at = tuple(int(i) + (size if i < 0 else 0) for i, size in zip(index, shape, strict=False))
    if len(index) != len(shape) or any(not 0 <= i < size for i, size in zip(at, shape, strict=True)):
        raise InputError(f"expected the index of an element of shape {list(shape)}, found {list(index)}")
    return at


def _element(done: Operation, number: int, name: str, value: Array, at: tuple[int, ...]) -> Element:
    subgraph = done.graph.subgraph
    tensor, quant = subgraph.tensors[number], subgraph.tensors[number].quant
    key, plain = tensor_keys(subgraph)[number], scalar(np.asarray(value))
    if quant is None or not tensor.dtype.is_integer:
        return Element(key, name, at, plain)
    channel = at[quant.quantized_dimension] if quant.per_axis and quant.quantized_dimension < len(at) else 0
    channel = min(channel, quant.scale.size - 1)
    return Element(key, name, at, plain, int(quant.zero_point[channel]), float(quant.scale[channel]))


@dataclass(frozen=True, slots=True)
class _Summed:
    """A sum, the input slots whose elements it lists, and the same behind one of its elements, with the steps there."""

    found: Sum
    slots: tuple[int, ...]
    inner: Sum | None = None
    steps: tuple[Step, ...] = ()


def _sum(done: Operation, at: tuple[int, ...]) -> _Summed | None:
    products = done.prepared.products(done.inputs, at)
    stage = next((stage for stage in done.stages if products and stage.name == products.stage), None)
    place = None if stage is None else place_in(stage.value, done.outputs[0].shape, at)
    if products is None or stage is None or place is None:
        return None
    element, array_of = partial(_source, done), partial(_array, done)
    found = sum_of(products, array_of, scalar(stage.value[place]), element)
    slots = tuple(reads.source for reads in products.factors if isinstance(reads.source, int))
    if found is None or products.inner is None:
        return None if found is None else _Summed(found, slots)
    behind = products.inner
    value = next(stage.value[behind.index] for stage in done.stages if stage.name == behind.products.stage)
    inner = sum_of(behind.products, array_of, scalar(value), element)
    slots += tuple(reads.source for reads in behind.products.factors if isinstance(reads.source, int))
    part = behind.products.stage.partition(": ")[0]
    return _Summed(found, slots, inner, tuple(steps_of_part(done.stages, part, behind.index)))


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
    return _element(done, done.operator.inputs[source], role(done.view, source), array[at], at)


def _sources(done: Operation, slot: int, at: tuple[int, ...], summed: _Summed | None) -> tuple[Element, ...]:
    """Return the elements of the inputs that an element comes from and that no sum has listed.

    Of recurrent ops they are nearly all.
    """
    found: list[Element] = []
    if is_recurrent(done.stages):
        return ()
    listed = () if summed is None else summed.slots
    searched = [] if listed else sources_of(Trial(done.prepared, done.inputs, slot, at))
    for source, marked in searched:
        places = np.argwhere(marked)[:MAX_SOURCES]
        found += [_source(done, source, tuple(int(i) for i in place)) for place in places]
    found += _before_codes(done, summed)
    return (*found, *(element for element in _bias(done, at) if element not in found))


def _before_codes(done: Operation, summed: _Summed | None) -> Iterator[Element]:
    """Yield the real numbers whose codes a sum lists, if the input was quantized on the fly."""
    codes = _array(done, CODES)
    slot = next((slot for slot, array in enumerate(done.inputs) if array is not None and array.dtype.kind == "f"), None)
    real = None if slot is None else done.inputs[slot]
    if summed is None or codes is None or slot is None or real is None or codes.size != real.size:
        return
    for product in summed.found.products:
        code = product.factors[0]
        if code.tensor == CODES:
            place = np.unravel_index(np.ravel_multi_index(code.index, codes.shape), real.shape)
            yield _source(done, slot, tuple(int(i) for i in place))


def _bias(done: Operation, at: tuple[int, ...]) -> Iterator[Element]:
    """Yield the bias of the element's channel, if the op has one."""
    for slot, array in enumerate(done.inputs):
        if array is not None and role(done.view, slot) == "bias" and at and array.shape[-1:] > at[-1:]:
            yield _source(done, slot, (*(0,) * (array.ndim - 1), at[-1]))


def _steps_to_code(done: Operation, summed: _Summed | None) -> Iterator[Step]:
    """Yield how an element of a sum came to be that is no input's: a code that was quantized on the fly, a state."""
    if summed:
        yield from summed.steps
    codes = summed.found.products[0].factors[:1] if summed and summed.found.products else ()
    for code in codes:
        if code.tensor == CODES:
            yield from steps_to_code(done.stages, code.index)


def _moved(sources: Sequence[Element], element: Element) -> Step:
    """Return the step of an element that is none of the op's stages: it was moved, if it comes from one alone."""
    same = [source for source in sources if source.value == element.value]
    return Step("output", element.value, same[0].place if len(sources) == 1 and same else "")


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
