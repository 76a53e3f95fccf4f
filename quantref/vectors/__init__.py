"""Golden-vector suites: plan, generate, store, and the cases that every cell of the support table starts from."""
