"""Worlds for trying searches without a language model, for people who write plugins too."""
