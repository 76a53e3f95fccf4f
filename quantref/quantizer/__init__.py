"""Post-training quantization of a float .tflite: statistics, then parameters, then the rewritten graph."""

from quantref.quantizer.accuracy import AccuracyReport
from quantref.quantizer.calibration import calibrate
from quantref.quantizer.plan import OpPlan, QuantizationPlan
from quantref.quantizer.quantize import plan, quantize
from quantref.quantizer.recipe import Recipe, Rule
from quantref.quantizer.report import compare_quantized
from quantref.quantizer.request import Mode
from quantref.quantizer.sensitivity import SensitivityReport, leave_one_float
from quantref.quantizer.statistics import Range, Statistics
from quantref.quantizer.statistics_import import load_aeq_statistics, statistics_from_calibrated
from quantref.quantizer.styles import AEQStyle, QuantrefStyle, TFLiteStyle

__all__ = [
    "AEQStyle",
    "AccuracyReport",
    "Mode",
    "OpPlan",
    "QuantizationPlan",
    "QuantrefStyle",
    "Range",
    "Recipe",
    "Rule",
    "SensitivityReport",
    "Statistics",
    "TFLiteStyle",
    "calibrate",
    "compare_quantized",
    "leave_one_float",
    "load_aeq_statistics",
    "plan",
    "quantize",
    "statistics_from_calibrated",
]
