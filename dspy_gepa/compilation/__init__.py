"""One call of `GEPA.compile`, step by step. Only the door `gepa.py` comes in here."""
