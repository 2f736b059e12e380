"""The audit log: rows that are only added, each with the hash of the one before."""
