"""Tests of the scripts and lessons."""
