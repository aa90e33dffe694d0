"""One call of `GEPA.compile`, step by step. Only `gepa.py` imports it."""
