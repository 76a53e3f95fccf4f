"""Tests of conformance runs: runners, comparison, reports, the pytest plug-in, wrong devices."""
