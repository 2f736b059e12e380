"""Reports of an evaluation: for a terminal, as Markdown, JSON and a plot. Pure functions."""
