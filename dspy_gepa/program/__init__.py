"""A DSPy program: its texts, its copies, its rollouts, and the worker that carries them out."""
