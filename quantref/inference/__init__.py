"""Finds out which profile some outputs, or a runtime, follow, and which input would tell two profiles apart."""

from quantref.inference.infer import infer_profile
from quantref.inference.result import Candidate, InferResult, Mixture, OpInference, Telling, Verdict
from quantref.inference.separate import Separation, separate_profiles

__all__ = [
    "Candidate",
    "InferResult",
    "Mixture",
    "OpInference",
    "Separation",
    "Telling",
    "Verdict",
    "infer_profile",
    "separate_profiles",
]
