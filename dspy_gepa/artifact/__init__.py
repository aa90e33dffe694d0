"""The only code that knows evaluators: what they take and return, and where they run."""
