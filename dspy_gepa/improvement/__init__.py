"""One call of `optimize_anything`, step by step. Only the door `anything.py` comes in here."""
