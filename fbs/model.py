"""A TensorFlow Lite model as frozen dataclasses: what the file says, nothing derived, nothing lost.

Tensors and metadata hold their :class:`Buffer`, and operators their :class:`OperatorCode`, so editing needs
no bookkeeping of indices: ``dataclasses.replace`` a part, and :func:`fbs.write` numbers what it finds.
``Model.buffers`` and ``Model.operator_codes`` keep the file's order, and what nothing refers to; an object
counts as listed there by identity, because two buffers of a file may well hold the same bytes.

Where the runtime makes no difference between an absent and an empty text or list, both are read as empty;
where it does (buffers, zero points, options) absent is None. The field names are the schema's,
``tflite/converter/schema/schema.fbs``. Not kept are the schema's three deprecated fields (a signature's tag and two
sizes of RESIZE_BILINEAR), which no runtime reads; fields that the schema does not have make :func:`fbs.read` refuse.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fbs import constants
from fbs.exact import Exact, frozen, numbers
from fbs.options import Options
from fbs.sparsity import Sparsity, densify
from qmath.errors import InputError, ModelError, QuantrefError
from qmath.types import Array, DType, Float32Array, Int64Array, QuantParams, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Buffer(Exact):
    """Bytes of a constant or of metadata.

    Attributes
    ----------
    data
        uint8, shape ``(n,)``, read-only; anything that offers bytes is accepted. None if the buffer has no
        data at all, as for activations: the runtime takes a tensor with empty data for a constant.
    outside
        Whether the bytes lie behind the flatbuffer, found by offset and size, as in models over 2 GB.

    Raises
    ------
    InputError
        ``data`` offers no bytes.

    """

    data: UInt8Array | None = None
    outside: bool = False

    def __post_init__(self) -> None:
        """Freeze the bytes."""
        if self.data is None:
            return
        contiguous = np.ascontiguousarray(self.data) if isinstance(self.data, np.ndarray) else self.data
        try:
            raw = np.frombuffer(contiguous, np.uint8)
        except (TypeError, ValueError):
            msg = f"expected the bytes of a buffer, found an object of type {type(self.data).__name__}"
            raise InputError(msg) from None
        object.__setattr__(self, "data", frozen(raw))

    @classmethod
    def of(cls, values: npt.ArrayLike, dtype: DType) -> Buffer:
        """Return a buffer with a copy of an array's elements, packed where the type is narrower than a byte.

        Raises
        ------
        InputError
            A value does not fit the type.

        """
        return cls(constants.encode(values, dtype))


@dataclass(frozen=True, slots=True, eq=False)
class Quantization(Exact):
    """Quantization parameters exactly as in the file.

    Attributes
    ----------
    min, max
        float32, shape ``(n,)``, or None: the calibrated range, kept for importing into other tools.
    scale
        float32, shape ``(n,)``, or None: real units per step, bit for bit.
    zero_point
        int64, shape ``(n,)``, or None.
    quantized_dimension
        Axis that per-axis entries run along.
    custom
        Payload of ``CustomQuantization``, or None.

    Raises
    ------
    InputError
        An array holds something else than numbers, a zero point is not whole, or there is more than one dimension.

    """

    min: Float32Array | None = None
    max: Float32Array | None = None
    scale: Float32Array | None = None
    zero_point: Int64Array | None = None
    quantized_dimension: int = 0
    custom: bytes | None = None

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        for name in ("min", "max", "scale", "zero_point"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, numbers(value, np.int64 if name == "zero_point" else np.float32, name))

    @classmethod
    def of(cls, params: QuantParams) -> Quantization:
        """Return what a file says for quantization parameters."""
        return cls(scale=params.scale, zero_point=params.zero_point, quantized_dimension=params.quantized_dimension)


@dataclass(frozen=True, slots=True)
class VariantSubType:
    """Type of the tensors inside a variant tensor."""

    shape: tuple[int, ...] = ()
    dtype: DType = DType.FLOAT32
    has_rank: bool = False


@dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph; it satisfies the kernels' ``TensorView`` as it is.

    Attributes
    ----------
    name
        May be empty or repeated.
    dtype
        Element type.
    shape
        With 1 for dimensions that are unknown.
    buffer
        Its bytes if it is a constant; a buffer without data otherwise.
    quantization
        As in the file, or None. :attr:`quant` is what an op sees.
    is_variable
        Whether it keeps its value between invocations.
    shape_signature
        ``shape`` with -1 for dimensions that are unknown, or None.
    sparsity
        How a sparse constant is stored, or None.
    has_rank
        Whether an empty shape means a scalar and not an unknown rank.
    variant_tensors
        Types inside a variant.

    """

    name: str
    dtype: DType
    shape: tuple[int, ...] = ()
    buffer: Buffer = field(default_factory=Buffer)
    quantization: Quantization | None = None
    is_variable: bool = False
    shape_signature: tuple[int, ...] | None = None
    sparsity: Sparsity | None = None
    has_rank: bool = False
    variant_tensors: tuple[VariantSubType, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: what follows from them is not copied, nor sent to other processes."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    @property
    def is_constant(self) -> bool:
        """Whether the file gives the tensor a value; no bytes are a value only of a tensor without elements."""
        raw = self.buffer.data
        return raw is not None and (raw.size > 0 or 0 in self.shape)

    @cached_property
    def data(self) -> Array | None:
        """Value of a constant, or None for an activation.

        It is a read-only view of the file where elements are whole bytes; narrower ones are unpacked to a
        byte each, bfloat16 is uint16, sparse tensors are spread out, strings stay bytes.

        Raises
        ------
        ModelError
            The bytes do not fit type and shape.

        """
        raw = self.buffer.data
        if raw is None or not self.is_constant:
            return None
        if self.sparsity is not None:
            return frozen(densify(raw, self.dtype, self.shape, self.sparsity))
        return frozen(constants.decode(raw, self.dtype, self.shape))

    @cached_property
    def quant(self) -> QuantParams | None:
        """Quantization parameters, or None without a scale.

        Raises
        ------
        ModelError
            Scales and zero points differ in number.

        """
        stored = self.quantization
        if stored is None or stored.scale is None or stored.scale.size == 0:
            return None
        if stored.zero_point is None:
            msg = f"tensor {self.name!r}: expected a zero point beside the scale, found none"
            raise ModelError(msg)
        try:
            return QuantParams(stored.scale, stored.zero_point, self.dtype, stored.quantized_dimension)
        except QuantrefError as error:
            msg = f"tensor {self.name!r}: {error}"
            raise ModelError(msg) from None


@dataclass(frozen=True, slots=True)
class OperatorCode:
    """What an operator is.

    Attributes
    ----------
    builtin
        Builtin operator in the schema's spelling, ``"CUSTOM"`` for custom ones.
    version
        Version of the operator.
    custom_code
        Name of a custom operator.

    """

    builtin: str
    version: int = 1
    custom_code: str = ""

    @property
    def name(self) -> str:
        """Name an op goes by: the builtin operator, or the custom code."""
        return self.custom_code if self.builtin == "CUSTOM" else self.builtin


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of a subgraph.

    Attributes
    ----------
    code
        What it is.
    inputs, outputs, intermediates
        Indices of tensors; -1 for an absent optional input.
    options
        Builtin options, or None if the file has none.
    options_2
        The same from the schema's second union (StableHLO operators, DILATE).
    custom_options
        Bytes of a custom op's options, or None.
    custom_options_format
        0: FlexBuffers.
    custom_options_outside
        Whether they lie behind the flatbuffer, found by offset and size, as in models over 2 GB.
    mutating_variable_inputs
        For each input whether the op updates it, or empty.
    debug_metadata_index
        As in the file; -1: none.

    """

    code: OperatorCode
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options | None = None
    options_2: Options | None = None
    custom_options: bytes | None = None
    custom_options_format: int = 0
    custom_options_outside: bool = False
    intermediates: tuple[int, ...] = ()
    mutating_variable_inputs: tuple[bool, ...] = ()
    debug_metadata_index: int = -1

    @property
    def name(self) -> str:
        """Builtin operator in the schema's spelling, or the code of a custom op."""
        return self.code.name

    @property
    def version(self) -> int:
        """Version of the operator."""
        return self.code.version


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A graph of operators, in order of execution."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = ""
    debug_metadata_index: int = -1


@dataclass(frozen=True, slots=True)
class Metadata:
    """Named bytes that a tool left in the file."""

    name: str
    buffer: Buffer

    @property
    def data(self) -> bytes:
        """The bytes; empty if there are none."""
        return b"" if self.buffer.data is None else self.buffer.data.tobytes()


@dataclass(frozen=True, slots=True)
class Signature:
    """A named way to call a subgraph.

    Attributes
    ----------
    key
        Name of the signature, for example ``"serving_default"``.
    inputs, outputs
        Pairs of a name and the index of a tensor in the subgraph; ``dict(signature.inputs)`` looks up.
    subgraph_index
        The subgraph it calls.

    """

    key: str
    inputs: tuple[tuple[str, int], ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()
    subgraph_index: int = 0


@dataclass(frozen=True)
class Model:
    """A TensorFlow Lite model.

    Attributes
    ----------
    subgraphs
        The first is the main one.
    operator_codes, buffers
        The file's lists in their order; what an edited model uses beyond them is added when written.
    metadata
        Named bytes, such as ``min_runtime_version``.
    metadata_buffer
        Bytes without a name, an older form of metadata.
    signatures
        Named ways to call the subgraphs.
    description
        Text that its maker left.
    version
        Of the schema: 3.
    appended
        Bytes behind all that the file refers to: metadata tools append files, such as labels, as a ZIP archive.
    path
        Where it was read from, if it was; not compared.

    """

    subgraphs: tuple[Subgraph, ...]
    operator_codes: tuple[OperatorCode, ...] = ()
    buffers: tuple[Buffer, ...] = ()
    metadata: tuple[Metadata, ...] = ()
    metadata_buffer: tuple[Buffer, ...] = ()
    signatures: tuple[Signature, ...] = ()
    description: str = ""
    version: int = 3
    appended: bytes = b""
    path: Path | None = field(default=None, compare=False)

    def pruned(self) -> Model:
        """Return the model with just those buffers and operator codes listed that something refers to."""
        tensors = [tensor for subgraph in self.subgraphs for tensor in subgraph.tensors]
        named = [item.buffer for item in self.metadata]
        used = [*(tensor.buffer for tensor in tensors), *named, *self.metadata_buffer]
        wanted = {id(buffer): buffer for buffer in used if buffer.data is not None}
        buffers = {id(buffer): buffer for buffer in self.buffers if id(buffer) in wanted} | wanted
        codes = dict.fromkeys(operator.code for subgraph in self.subgraphs for operator in subgraph.operators)
        listed = dict.fromkeys(code for code in self.operator_codes if code in codes)
        return dataclasses.replace(self, buffers=(Buffer(), *buffers.values()), operator_codes=tuple(listed | codes))
