"""Better instructions for DSPy programs."""
