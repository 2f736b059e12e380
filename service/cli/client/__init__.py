"""The client commands: ask and top."""
