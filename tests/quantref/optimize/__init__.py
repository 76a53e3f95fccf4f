"""Tests of pruning and clustering."""
