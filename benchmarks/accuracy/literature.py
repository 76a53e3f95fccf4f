"""What the guide of LiteRT publishes on the same question, as it stands there."""

from __future__ import annotations

SOURCE = "https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/model_optimization"
SOURCE_FILE = (
    "https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/g3doc/performance/model_optimization.md"
)

#: Model, top-1 accuracy original, after post-training quantization, quantization-aware, and the sizes in megabytes.
QUANTIZED = (
    ("MobileNet v1 1.0 224", "0.709", "0.657", "0.70", "16.9", "4.3"),
    ("MobileNet v2 1.0 224", "0.719", "0.637", "0.709", "14", "3.6"),
    ("Inception v3", "0.78", "0.772", "0.775", "95.7", "23.9"),
    ("ResNet v2 101", "0.770", "0.768", "not given", "178.3", "44.9"),
)
#: Model, metric, and its value with float32, int8 and int16 activations.
WIDE_ACTIVATIONS = (
    ("Wav2letter", "WER", "6.7 %", "7.7 %", "7.2 %"),
    ("DeepSpeech 0.5.1, unrolled", "CER", "6.13 %", "43.67 %", "6.52 %"),
    ("YOLOv3", "mAP (IOU = 0.5)", "0.577", "0.563", "0.574"),
    ("MobileNet v1", "top-1", "0.7062", "0.694", "0.6936"),
    ("MobileNet v2", "top-1", "0.718", "0.7126", "0.7137"),
    ("MobileBERT", "F1 (exact match)", "88.81 (81.23)", "2.08 (0)", "88.73 (81.15)"),
)
