"""What the reflection LM is shown about a candidate, and how its answer is read.

Knows no DSPy: whoever calls it hands in a function that asks the LM.
"""
