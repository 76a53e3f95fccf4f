"""What is in a model: tensors, ops, quantization, sizes, and what looks wrong."""

from __future__ import annotations

import enum
import html
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import fbs
from fbs.options import defaults_of
from kernels.engine.activation import Activation
from kernels.engine.geometry import Padding
from qmath.types import QuantParams
from quantref.interpreter import ModelSource, load

#: Options that are enumerations.
OPTION_ENUMS: dict[str, type[enum.Enum]] = {"padding": Padding, "fused_activation_function": Activation}


class Role(enum.Enum):
    """What a tensor is for."""

    INPUT = "input"
    OUTPUT = "output"
    CONSTANT = "constant"
    VARIABLE = "variable"
    ACTIVATION = "activation"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor.

    Attributes
    ----------
    index, name, dtype, shape
        As in the file; the type in lower case.
    role
        What it is for.
    size
        Bytes that its elements take in the file or in memory, sub-byte types packed.
    quant
        Quantization parameters, or None.

    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    role: Role
    size: int
    quant: QuantParams | None

    @property
    def quantization(self) -> str:
        """The quantization in a few words, such as ``"0.00392157, -128"`` or ``"64 scales, axis 0"``."""
        return in_words(self.quant)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        quantization = None
        if self.quant is not None:
            quantization = {
                "scale": [float(scale) for scale in self.quant.scale],
                "zero_point": [int(zero_point) for zero_point in self.quant.zero_point],
                "quantized_dimension": self.quant.quantized_dimension,
            }
        return {
            "index": self.index,
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "role": self.role.value,
            "size": self.size,
            "quantization": quantization,
        }


@dataclass(frozen=True, slots=True)
class OpInfo:
    """An operator, with the indices of its tensors; -1 stands for an absent input.

    Attributes
    ----------
    index, name, version
        Place in the subgraph, what it is, and its version.
    inputs, outputs
        Indices of tensors.
    options
        Builtin options by the schema's names, enumerations as integers, floats that are not finite by name; custom
        ones in hexadecimal.
    remarkable
        Those that differ from the schema's defaults, in words.

    """

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]
    remarkable: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "index": self.index,
            "name": self.name,
            "version": self.version,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "options": self.options,
        }


@dataclass(frozen=True, slots=True)
class SubgraphInfo:
    """A subgraph: its tensors and operators, in order, and the indices of its inputs and outputs."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: tuple[TensorInfo, ...]
    ops: tuple[OpInfo, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "tensors": [tensor.to_json() for tensor in self.tensors],
            "ops": [op.to_json() for op in self.ops],
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in a model.

    Attributes
    ----------
    model, description, version
        Name of the file, what its maker called it, and version of the schema.
    subgraphs
        The first is the main one.
    signatures
        Names of inputs and outputs with tensor indices, by key.
    metadata
        Sizes of the metadata, in bytes, by name.
    warnings
        What validation found odd but bearable.

    """

    model: str
    description: str
    version: int
    subgraphs: tuple[SubgraphInfo, ...]
    signatures: dict[str, dict[str, dict[str, int]]]
    metadata: dict[str, int]
    warnings: tuple[str, ...]

    def sizes(self, *roles: Role) -> dict[str, int]:
        """Return how many bytes the tensors of some roles take together, by element type."""
        total: Counter[str] = Counter()
        for graph in self.subgraphs:
            for tensor in graph.tensors:
                if tensor.role in roles:
                    total[tensor.dtype] += tensor.size
        return dict(total.most_common())

    @property
    def op_counts(self) -> dict[str, int]:
        """How often each operator occurs, the most frequent first."""
        return dict(Counter(op.name for graph in self.subgraphs for op in graph.ops).most_common())

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "description": self.description,
            "version": self.version,
            "constants": self.sizes(Role.CONSTANT),
            "op_counts": self.op_counts,
            "signatures": self.signatures,
            "metadata": self.metadata,
            "warnings": list(self.warnings),
            "subgraphs": [graph.to_json() for graph in self.subgraphs],
        }

    def summary(self) -> str:
        """Return the main facts as a few lines of text."""
        graph = self.subgraphs[0]
        lines = [f"{self.model}: {len(graph.ops)} ops, {len(graph.tensors)} tensors" + self._others()]
        for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
            lines += [f"{what}: {_describe(graph.tensors[index])}" for index in indices]
        lines.append("ops: " + ", ".join(f"{count} {name}" for name, count in self.op_counts.items()))
        lines.append("constants: " + _bytes_by_type(self.sizes(Role.CONSTANT)))
        lines += [f"signature {key!r}: {_signature(names)}" for key, names in self.signatures.items()]
        lines += [f"metadata {name!r}: {size} bytes" for name, size in self.metadata.items()]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _others(self) -> str:
        count = len(self.subgraphs) - 1
        return f" in the main subgraph, {count} more subgraph{'s' * (count > 1)}" if count else ""

    def _repr_html_(self) -> str:
        """Return tables of operators and tensors for notebooks."""
        graph = self.subgraphs[0]
        ops = [(op.index, op.name, op.version, list(op.inputs), list(op.outputs)) for op in graph.ops]
        tensors = [
            (t.index, t.name, t.dtype, list(t.shape), t.role.value, t.size, t.quantization) for t in graph.tensors
        ]
        lines = "<br>".join(html.escape(line) for line in self.summary().splitlines())
        return (
            f"<p>{lines}</p>"
            + _table(("", "op", "version", "inputs", "outputs"), ops)
            + _table(("", "tensor", "type", "shape", "role", "bytes", "quantization"), tensors)
        )


def in_words(quant: QuantParams | None) -> str:
    """Return quantization parameters in a few words: scale and zero point, or how many scales there are."""
    if quant is None:
        return ""
    scale, zero_point = quant.scale, quant.zero_point
    if not quant.per_axis:
        return f"{scale[0]:.6g}, {zero_point[0]}"
    zeros = "" if not zero_point.any() else f", zero points {zero_point.min()} to {zero_point.max()}"
    return f"{scale.size} scales {scale.min():.3g} to {scale.max():.3g}, axis {quant.quantized_dimension}{zeros}"


def inspect(model: ModelSource) -> Inspection:
    """Describe a model.

    Parameters
    ----------
    model
        Path, bytes, or a model.

    Raises
    ------
    InputError, ModelError, UnsupportedError
        It cannot be read.

    """
    loaded = load(model)
    findings = fbs.validate(loaded)
    signatures = {
        signature.key: {"inputs": dict(signature.inputs), "outputs": dict(signature.outputs)}
        for signature in loaded.signatures
    }
    return Inspection(
        model=loaded.path.name if loaded.path else "model",
        description=loaded.description,
        version=loaded.version,
        subgraphs=tuple(_subgraph(graph) for graph in loaded.subgraphs),
        signatures=signatures,
        metadata={entry.name: len(entry.data) for entry in loaded.metadata},
        warnings=tuple(str(finding) for finding in findings),
    )


def _subgraph(graph: fbs.Subgraph) -> SubgraphInfo:
    ops = tuple(
        OpInfo(index, op.name, op.version, op.inputs, op.outputs, _options(op), _remarkable(op))
        for index, op in enumerate(graph.operators)
    )
    tensors = tuple(_tensor(graph, index) for index in range(len(graph.tensors)))
    return SubgraphInfo(graph.name, graph.inputs, graph.outputs, tensors, ops)


def _options(operator: fbs.Operator) -> dict[str, Any]:
    options = operator.options if operator.options is not None else operator.options_2
    plain = {} if options is None else {name: _plain(value) for name, value in options.items()}
    return plain if operator.custom_options is None else plain | {"custom_options": operator.custom_options.hex()}


def _remarkable(operator: fbs.Operator) -> str:
    options = operator.options if operator.options is not None else operator.options_2
    unset = defaults_of(operator.code.builtin)
    changed = {} if options is None else {name: value for name, value in options.items() if value != unset.get(name)}
    if options is not None and "padding" in options:
        changed = {"padding": options["padding"]} | changed
    return ", ".join(_option_in_words(name, value) for name, value in changed.items())


def _option_in_words(name: str, value: Any) -> str:
    try:
        if name in OPTION_ENUMS:
            return OPTION_ENUMS[name](value).name
    except ValueError:
        pass  # a value that the schema does not name
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no number for it
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _tensor(graph: fbs.Subgraph, index: int) -> TensorInfo:
    tensor = graph.tensors[index]
    raw = tensor.buffer.data
    size = raw.size if raw is not None else math.ceil(math.prod(tensor.shape) * tensor.dtype.bits / 8)
    role = _role(graph, index)
    return TensorInfo(index, tensor.name, tensor.dtype.name.lower(), tensor.shape, role, size, tensor.quant)


def _role(graph: fbs.Subgraph, index: int) -> Role:
    tensor = graph.tensors[index]
    if tensor.is_variable:
        return Role.VARIABLE
    if index in graph.inputs:
        return Role.INPUT
    if tensor.data is not None:
        return Role.CONSTANT
    return Role.OUTPUT if index in graph.outputs else Role.ACTIVATION


def _describe(tensor: TensorInfo) -> str:
    quantization = f", quantized ({tensor.quantization})" if tensor.quant else ""
    return f"{tensor.name!r} {tensor.dtype} {list(tensor.shape)}{quantization}"


def _signature(names: dict[str, dict[str, int]]) -> str:
    return " -> ".join(", ".join(names[side]) for side in ("inputs", "outputs"))


def _bytes_by_type(sizes: dict[str, int]) -> str:
    return ", ".join(f"{size:,} bytes of {dtype}" for dtype, size in sizes.items()) or "none"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
