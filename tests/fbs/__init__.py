"""Tests of fbs: files, models, checks."""
