"""Ended runs with the results of their agents, read in parts for statistics."""
