"""The arithmetic of TensorFlow Lite quantization, in NumPy alone."""

DISTRIBUTION = "quantref"
