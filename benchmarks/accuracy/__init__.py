"""What each way to shrink a model costs: one table, made by one command."""
