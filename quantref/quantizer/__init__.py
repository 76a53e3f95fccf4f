"""Post-training quantization of a float .tflite: statistics, then parameters, then the rewritten graph."""

from quantref.quantizer.statistics import Range, Statistics
from quantref.quantizer.statistics_import import load_aeq_statistics, statistics_from_calibrated

__all__ = ["Range", "Statistics", "load_aeq_statistics", "statistics_from_calibrated"]
