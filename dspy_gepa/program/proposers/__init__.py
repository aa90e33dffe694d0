"""What reflects besides our own way: DSPy's proposers, the user's, and all kinds together."""
