"""Agents, judges and combiners of the mock that are right with a known probability."""
