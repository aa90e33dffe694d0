"""Values of any kind, a user's own among them: in words, as JSON, media."""
