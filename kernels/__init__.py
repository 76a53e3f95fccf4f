"""One op family, one file: its literal definition, its preparation, its registration."""

DISTRIBUTION = "quantref"
