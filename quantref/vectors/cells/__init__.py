"""Cases for the long comparison with a runtime, a module an op family."""
