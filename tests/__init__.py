"""The tests of quantref; CONTRIBUTING.md says how to run them."""
