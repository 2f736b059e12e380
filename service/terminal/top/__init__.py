"""The live view of a running service, from its metrics."""
