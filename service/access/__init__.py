"""The callers of the service: who they are and what they may do. No I/O."""
