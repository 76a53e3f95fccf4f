"""Scripts and lessons."""
