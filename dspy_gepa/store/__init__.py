"""What survives the process: a run directory with a journal of events. Nothing is pickled."""
