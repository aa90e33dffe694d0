"""One run of a program: what happened in it, how it was scored, what it cost."""
