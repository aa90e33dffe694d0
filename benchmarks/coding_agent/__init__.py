"""A coding agent whose prompt evolves: small faults in packages that carry their tests."""
