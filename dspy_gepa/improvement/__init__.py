"""One call of `optimize_anything`, step by step. `anything.py` runs it."""
