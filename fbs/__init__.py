"""TensorFlow Lite models as frozen dataclasses, read from and written to .tflite files without loss."""

from fbs.builder import Builder, SubgraphBuilder
from fbs.extract import extract
from fbs.findings import Finding
from fbs.model import (
    Buffer,
    Metadata,
    Model,
    Operator,
    OperatorCode,
    Quantization,
    Signature,
    Subgraph,
    Tensor,
    VariantSubType,
)
from fbs.options import Options
from fbs.reader import read
from fbs.sparsity import DimensionMetadata, Sparsity
from fbs.validate import validate
from fbs.view import OpView, view
from fbs.writer import save, write

__all__ = [
    "Buffer",
    "Builder",
    "DimensionMetadata",
    "Finding",
    "Metadata",
    "Model",
    "OpView",
    "Operator",
    "OperatorCode",
    "Options",
    "Quantization",
    "Signature",
    "Sparsity",
    "Subgraph",
    "SubgraphBuilder",
    "Tensor",
    "VariantSubType",
    "extract",
    "read",
    "save",
    "validate",
    "view",
    "write",
]

DISTRIBUTION = "quantref"
