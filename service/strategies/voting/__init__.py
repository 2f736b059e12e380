"""Comparison of answers: their final forms, groups of equal ones, similarity of texts."""
