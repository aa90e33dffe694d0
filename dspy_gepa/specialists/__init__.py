"""The right member for each input, and whether that brings anything.

pool.py         the members of a run, and the program that is made of them
member_sets.py  which members, from a table of scores
routing.py      what that brings, in numbers and words
choosers.py     what chooses among them for an input; a new chooser is one entry of its table
module.py       the program that routes
"""
