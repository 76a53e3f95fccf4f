"""The rules that a model is checked against: what they are, one file a family of them, and what they find."""
