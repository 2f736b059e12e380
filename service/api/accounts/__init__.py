"""`/api/auth`, `/api/users`, `/api/keys`: accounts as JSON."""
