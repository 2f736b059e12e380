"""`/web/`: the pages of the service, rendered on the server."""
