"""What an optimizer is given, as frozen values that are checked once, when they are made."""
