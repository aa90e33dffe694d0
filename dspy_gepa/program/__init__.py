"""The only code that knows DSPy."""
