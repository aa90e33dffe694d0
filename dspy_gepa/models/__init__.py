"""How language models and code that is not ours are called, and what goes wrong there."""
