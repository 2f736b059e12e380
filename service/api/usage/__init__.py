"""`/api/usage` and `/api/audit`: reports as JSON and as CSV."""
