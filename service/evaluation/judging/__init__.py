"""The judge of an evaluation: it compares two anonymous answers, in both orders."""
