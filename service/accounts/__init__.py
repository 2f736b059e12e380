"""Accounts: users, passwords, web sessions, API keys, and the audit log of their changes."""
