"""Grades of answers: their comparison with exact, numeric and JSON references. Pure functions."""
