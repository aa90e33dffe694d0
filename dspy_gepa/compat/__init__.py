"""Everything that imitates: the names and shapes of dspy.GEPA, the gepa package and MIPROv2.

Only the two doors, `gepa.py` and `anything.py`, come in here: they turn what was written for
another optimizer into values of ours, so that the rest of the package knows one way of each thing.
The package itself offers `install` and `uninstall` to users, and the command line asks `names.py`
what a wrong name may mean.
"""
