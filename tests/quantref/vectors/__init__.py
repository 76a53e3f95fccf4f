"""Tests of golden-vector suites."""
