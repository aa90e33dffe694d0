"""Whether what a search returns is better than what it was given, on examples of its own.

interval.py   how far a paired difference may be off
finding.py    what was found, in numbers and in words
kept.py       the same in a run directory
further.py    rollouts after a search: held, counted, kept, and never paid twice
"""
