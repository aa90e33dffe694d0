"""The right member for each input, and whether that brings anything.

choosing.py   which members, from a table of scores
routing.py    what that brings, in numbers and words
module.py     the program that routes; it imports nothing of this package
"""
