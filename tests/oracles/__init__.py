"""Slow, literal definitions to hold the fast ones against."""
