"""The search itself: pure values and functions. Standard library and numpy only."""
