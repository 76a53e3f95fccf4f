"""Tests of the house itself: its layers, its documents, its habits."""
