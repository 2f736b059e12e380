"""The client of Redis, with the same options for every use."""
