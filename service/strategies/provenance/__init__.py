"""Provenance of an answer: marks in its stream, and the agents that each part rests on."""
