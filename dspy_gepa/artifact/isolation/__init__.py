"""Evaluations in processes of their own: a server that forks, and one supervisor for each."""
