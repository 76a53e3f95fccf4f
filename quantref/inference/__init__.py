"""Finds out which profile some outputs, or a runtime, follow, and which input would tell two profiles apart."""

from quantref.inference.candidates import Candidate, Telling
from quantref.inference.infer import infer_profile
from quantref.inference.result import InferResult, Mixture, OpInference, Verdict
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
