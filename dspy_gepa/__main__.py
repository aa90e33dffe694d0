"""`python -m dspy_gepa` is the console script `dspy-gepa`."""

import sys

from dspy_gepa.demo.cli import main

if __name__ == "__main__":
    sys.exit(main())
