"""The codec knows every table of the schema by the generated code alone."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite

from fbs import encode, options, schema
from fbs.decode import Decoder
from fbs.schema import Field, Kind
from qmath.errors import InputError

TABLES = sorted(name for name in dir(tflite) if hasattr(tflite, f"{name}Start"))


@pytest.mark.parametrize("seed", range(3))
def test_every_table_survives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert len(TABLES) > 150
    for name in TABLES:
        table = schema.table(name)
        record = _record(name, rng)
        builder = flatbuffers.Builder()
        builder.Finish(encode.table(builder, table, record))
        assert _plain(Decoder(memoryview(bytes(builder.Output()))).root(table)) == _plain(record), name


def test_absent_fields_take_the_schemas_defaults() -> None:
    assert dict(options.Options("Conv2DOptions")) == {
        "padding": 0,
        "stride_w": 0,
        "stride_h": 0,
        "fused_activation_function": 0,
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        "quantized_bias_type": 0,
    }
    assert options.Options("BucketizeOptions")["boundaries"] is None
    assert options.Options("UnidirectionalSequenceLSTMOptions")["diagonal_recurrent_tensors"] is False


def test_names_are_the_schemas() -> None:
    assert set(schema.table("StridedSliceOptions").defaults) == {
        "begin_mask",
        "end_mask",
        "ellipsis_mask",
        "new_axis_mask",
        "shrink_axis_mask",
        "offset",
    }
    assert "adj_x" in schema.table("BatchMatMulOptions").defaults
    assert "seed2" in schema.table("RandomOptions").defaults


def test_the_reader_and_writer_know_all_fields() -> None:
    # A package for a newer schema adds fields here: the reader and the writer must then learn them.
    known = {
        "Model": "version operator_codes subgraphs description buffers metadata_buffer metadata signature_defs",
        "OperatorCode": "deprecated_builtin_code custom_code version builtin_code",
        "SubGraph": "tensors inputs outputs operators name debug_metadata_index",
        "Tensor": "shape type buffer name quantization is_variable sparsity shape_signature has_rank variant_tensors",
        "QuantizationParameters": "min max scale zero_point details quantized_dimension",
        "SparsityParameters": "traversal_order block_map dim_metadata",
        "DimensionMetadata": "format dense_size array_segments array_indices",
        "VariantSubType": "shape type has_rank",
        "Buffer": "data offset size",
        "Metadata": "name buffer",
        "SignatureDef": "inputs outputs signature_key subgraph_index",
        "TensorMap": "name tensor_index",
        "Operator": "opcode_index inputs outputs builtin_options builtin_options2 custom_options "
        "custom_options_format mutating_variable_inputs intermediates large_custom_options_offset "
        "large_custom_options_size debug_metadata_index",
    }
    for name, fields in known.items():
        assert set(schema.table(name).defaults) == set(fields.split()), name


def test_every_table_of_options_belongs_to_an_operator() -> None:
    used = {options.table_of(operator) for operator in schema.numbers("BuiltinOperator")}
    unions = {*schema.numbers("BuiltinOptions"), *schema.numbers("BuiltinOptions2")} - {"NONE"}
    assert used - {None} == unions
    assert options.table_of("MAX_POOL_2D") == "Pool2DOptions"
    assert options.table_of("LOGISTIC") is None


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"padding": 1000}, "1000"),
        ({"padding": "SAME"}, "SAME"),
        ({"stride_w": 1.5}, "1.5"),
        ({"stride_d": 1}, "stride_d"),
    ],
)
def test_values_that_do_not_fit_are_named(record: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=found):
        encode.table(flatbuffers.Builder(), schema.table("Conv2DOptions"), record)


def test_options_are_values() -> None:
    first = options.Options("SqueezeOptions", {"squeeze_dims": [1, 2]})
    assert first == options.Options("SqueezeOptions", {"squeeze_dims": np.array([1, 2])})
    assert first["squeeze_dims"] == (1, 2)
    assert first.replace(squeeze_dims=(3,)) != first
    assert len({first, first.replace()}) == 1
    with pytest.raises(InputError, match=r"options of SqueezeOptions \(squeeze_dims\), found axis"):
        first.replace(axis=1)


def _record(name: str, rng: np.random.Generator) -> dict[str, Any]:
    return {field.name: _value(field, rng) for field in schema.table(name).fields}


def _value(field: Field, rng: np.random.Generator) -> Any:
    count = int(rng.integers(0, 4))
    if field.kind is Kind.UNION:
        names = [name for name in schema.numbers(field.table) if name != "NONE"]
        member = names[rng.integers(len(names))]
        return member, _record(member, rng)
    if field.kind in {Kind.ARRAY, Kind.TUPLE}:
        numbers = np.array(_numbers(field, count, rng), field.dtype)
        short = numbers.tobytes() if field.dtype.str == "|u1" else tuple(numbers.tolist())
        return numbers if field.kind is Kind.ARRAY else short
    one = {
        Kind.SCALAR: lambda: _numbers(field, 1, rng)[0],
        Kind.STRING: lambda: "größer"[:count],
        Kind.TABLE: lambda: _record(field.table, rng),
    }
    many = {Kind.STRINGS: one[Kind.STRING], Kind.TABLES: one[Kind.TABLE]}
    return [many[field.kind]() for _ in range(count)] if field.kind in many else one[field.kind]()


def _numbers(field: Field, count: int, rng: np.random.Generator) -> list[Any]:
    raw = rng.bytes(count * field.dtype.itemsize)
    if field.dtype.kind == "f":
        return rng.standard_normal(count).astype(field.dtype).tolist()
    if field.dtype.kind == "b":
        return rng.integers(0, 2, count).astype(bool).tolist()
    return np.frombuffer(raw, field.dtype).tolist()


def _plain(value: Any) -> Any:
    """Return nested values that can be compared, arrays with their type."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
