"""The texts of a program that can be improved: where they are, and what they are for."""
