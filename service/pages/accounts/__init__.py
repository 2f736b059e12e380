"""The pages of accounts: logging in and out, registering."""
