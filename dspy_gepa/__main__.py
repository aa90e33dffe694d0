"""`python -m dspy_gepa` is the console script `dspy-gepa`."""

import sys

from dspy_gepa.command.main import main

if __name__ == "__main__":
    sys.exit(main())
