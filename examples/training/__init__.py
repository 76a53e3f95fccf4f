"""A lesson: train a small network in NumPy, quantize it after training, and train it to be quantized."""
