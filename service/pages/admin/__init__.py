"""The page of administrators: users, usage of all, agents, limits, the audit log."""
