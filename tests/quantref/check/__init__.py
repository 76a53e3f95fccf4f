"""Tests of the check of a model against the quantization spec."""
