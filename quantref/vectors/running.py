"""Run a case under a profile by the literal definitions, and watch what it hits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import fbs
from kernels.profiles import Profile
from qmath.types import Array, DType
from quantref.control_flow import HANDLERS
from quantref.interpreter import Interpreter
from quantref.names import tensor_keys
from quantref.parameters import Parameter, parameters
from quantref.recording import evaluate_all
from quantref.support import op_versions
from quantref.vectors.coverage import Coverage, marks_of_op

#: Whose kernels LiteRT's profiles find, as the table of versions calls it.
_RESOLVERS = {
    "litert-reference": "litert-reference",
    **dict.fromkeys(("litert-optimized", "litert-optimized-arm64", "xnnpack", "xnnpack-arm64"), "litert-optimized"),
}
#: Profiles of runtimes with approximations of their own.
_APPROXIMATING = {"xnnpack", "xnnpack-arm64"}
_INDICES = {DType.INT32, DType.INT64}


@dataclass
class Answer:
    """What a profile gives for a case.

    Attributes
    ----------
    outputs
        An array for each output by name, one mapping an invocation.
    tensors
        The same of every tensor that an op computes; empty unless asked for.
    stages
        Every stage by key; empty unless asked for.
    coverage
        What was hit.
    parameters
        Numbers of each prepared op, those of the last invocation.

    """

    outputs: list[dict[str, Array]] = field(default_factory=list)
    tensors: list[dict[str, Array]] = field(default_factory=list)
    stages: dict[str, Array] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    parameters: dict[int, dict[str, Parameter]] = field(default_factory=dict)


def answer(
    content: bytes,
    samples: Sequence[Mapping[str, Array]],
    profile: str | Profile,
    *,
    all_tensors: bool = False,
    stages: bool = False,
) -> Answer:
    """Run a model on samples in turn; state lives on from one to the next.

    Parameters
    ----------
    content
        Bytes of the file.
    samples
        An array for each input by name; their shapes may differ from the model's.
    profile
        Whose arithmetic.
    all_tensors, stages
        Whether to keep these.

    Raises
    ------
    QuantrefError
        The profile refuses the model or the inputs.

    """
    interpreter = Interpreter(content, profile)
    graph, found = interpreter.graph, Answer()
    keys = tensor_keys(graph.subgraph)
    for number, sample in enumerate(samples):
        set_inputs(interpreter, [sample[keys[index]] for index in graph.subgraph.inputs])
        with interpreter.in_file():
            for index, read, _, recorder in evaluate_all(graph, keep_terms=True):
                name = graph.subgraph.operators[index].name
                found.coverage.watch(recorder.stages)
                if name not in HANDLERS:
                    view = graph.view(index, [None if x is None else x.shape for x in read])
                    found.parameters[index] = parameters(graph.prepared(index))
                    found.coverage.marks.update(marks_of_op(view, found.parameters[index]))
                if stages:
                    place = f"{number}/op/{index:03}:{name}/stage"
                    found.stages |= {f"{place}/{n:02}:{s.name}": s.value for n, s in enumerate(recorder.stages)}
        found.outputs.append({keys[index]: interpreter.get_tensor(index) for index in graph.subgraph.outputs})
        if all_tensors:
            computed = sorted({n for op in graph.subgraph.operators for n in op.outputs if n >= 0})
            found.tensors.append({keys[index]: interpreter.get_tensor(index) for index in computed})
        found.coverage.elements += sum(array.size for array in found.outputs[-1].values())
    return found


def set_inputs(interpreter: Interpreter, arrays: Sequence[Array]) -> None:
    """Give an interpreter its inputs, in order, of whatever shape they are."""
    graph = interpreter.graph
    for index, array in zip(graph.subgraph.inputs, arrays, strict=True):
        current = graph.values[index]
        if array.shape != (graph.subgraph.tensors[index].shape if current is None else current.shape):
            interpreter.resize_tensor_input(index, array.shape)
    interpreter.allocate_tensors()
    for index, array in zip(graph.subgraph.inputs, arrays, strict=True):
        interpreter.set_tensor(index, array)


def lacking_op(model: fbs.Model, profile: str) -> str | None:
    """Say which op the runtime of a profile lacks, or has not in the file's version; quantref may run it all the same.

    LiteRT's reference resolver, for one, has no ELU: its profile takes the kernel of the other resolver. TFLite Micro
    does not look at versions. What the runtime has and quantref does not reproduce is told, too.
    """
    resolver = _RESOLVERS.get(profile)
    versions = op_versions()
    if profile in _APPROXIMATING and any(
        _approximated(graph, op) for graph in model.subgraphs for op in graph.operators
    ):
        return f"{profile}'s COS and SIN of float16 are approximations whose last bit quantref does not reproduce"
    for operator in (operator for graph in model.subgraphs for operator in graph.operators):
        most = versions.get(operator.name, {}).get(resolver or "")
        if most is not None and operator.code.version > most:
            has = f"{operator.name} up to version {most}" if most else f"no {operator.name}"
            return f"{profile}'s runtime has {has}, found version {operator.code.version}"
    return None


def _approximated(graph: fbs.Subgraph, operator: fbs.Operator) -> bool:
    """Whether an op is a sine or a cosine of float16."""
    return operator.name in {"COS", "SIN"} and graph.tensors[operator.inputs[0]].dtype is DType.FLOAT16


def dtypes_of(model: fbs.Model) -> str:
    """Return the element types of a one-op model in short, such as ``"int16 x int8"`` or ``"int8 -> float32"``.

    Types that index, count or bias (int32 and int64) are left out where an input has another one.
    """
    graph = model.subgraphs[0]
    operator = graph.operators[0]
    inputs = _distinct(graph.tensors[index].dtype for index in operator.inputs if index >= 0)
    outputs = _distinct(graph.tensors[index].dtype for index in operator.outputs if index >= 0)
    told = [dtype for dtype in inputs if dtype not in _INDICES] or inputs
    given = [dtype for dtype in outputs if dtype not in told]
    text = " x ".join(dtype.name.lower() for dtype in told)
    return text + (f" -> {' x '.join(dtype.name.lower() for dtype in given)}" if given else "")


def _distinct(dtypes: Iterable[DType]) -> list[DType]:
    return list(dict.fromkeys(dtypes))
