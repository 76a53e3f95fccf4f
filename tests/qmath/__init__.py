"""Tests of qmath."""
