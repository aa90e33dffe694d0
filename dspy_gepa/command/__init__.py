"""The command line: what a run directory holds, as text, as a page, as a program."""
