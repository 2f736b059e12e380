"""Stored runs as model servers and as event streams, with their own timing."""
