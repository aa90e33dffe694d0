"""The right member for each input, and whether that brings anything.

pool.py       the members of a run, and the program that is made of them
choosing.py   which members, from a table of scores
routing.py    what that brings, in numbers and words
module.py     the program that routes; it imports nothing of this package
"""
