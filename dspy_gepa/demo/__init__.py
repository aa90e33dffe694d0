"""The embedded default: a local model, two tasks, and `dspy-gepa demo`.

This room is a user of the package: it imports DSPy and the package's public names only.
"""
