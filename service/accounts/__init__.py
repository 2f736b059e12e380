"""Accounts: the audit log of what was done with them."""
