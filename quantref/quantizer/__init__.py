"""Post-training quantization of a float .tflite: statistics, then parameters, then the rewritten graph."""

from quantref.quantizer.plan import OpPlan, QuantizationPlan
from quantref.quantizer.quantize import plan, quantize
from quantref.quantizer.recipe import Recipe, Rule
from quantref.quantizer.request import Mode
from quantref.quantizer.statistics import Range, Statistics
from quantref.quantizer.statistics_import import load_aeq_statistics, statistics_from_calibrated
from quantref.quantizer.styles import AEQStyle, QuantrefStyle, TFLiteStyle

__all__ = [
    "AEQStyle",
    "Mode",
    "OpPlan",
    "QuantizationPlan",
    "QuantrefStyle",
    "Range",
    "Recipe",
    "Rule",
    "Statistics",
    "TFLiteStyle",
    "load_aeq_statistics",
    "plan",
    "quantize",
    "statistics_from_calibrated",
]
