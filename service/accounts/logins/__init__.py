"""Logins: passwords, the waits between attempts, registration, web sessions."""
