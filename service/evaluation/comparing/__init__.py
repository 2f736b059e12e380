"""Comparisons between the contestants of an evaluation, computed from its results."""
