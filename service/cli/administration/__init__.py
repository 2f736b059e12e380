"""The commands of administrators: users, keys, usage and audit."""
