"""What the reflection LM is shown, and how its answer is read."""
