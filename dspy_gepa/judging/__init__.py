"""What was said of an answer: scores, feedback of any kind, objectives."""
