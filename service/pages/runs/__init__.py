"""The page of a run: its course, its findings, its answers and its cost."""
