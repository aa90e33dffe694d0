"""Readers of events: they see what happens and change nothing."""
