"""Tests of the kernels: against the runtime, the goldens, plain Python integers, and by hand."""
