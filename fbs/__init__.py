"""TensorFlow Lite models as frozen dataclasses, read from and written to .tflite files without loss."""

from fbs.builder import Builder, SubgraphBuilder
from fbs.extract import extract
from fbs.findings import Finding, Place, Subject
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
from fbs.validate import examine, validate
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
    "Place",
    "Quantization",
    "Signature",
    "Sparsity",
    "Subgraph",
    "SubgraphBuilder",
    "Subject",
    "Tensor",
    "VariantSubType",
    "examine",
    "extract",
    "read",
    "save",
    "validate",
    "view",
    "write",
]

DISTRIBUTION = "quantref"
