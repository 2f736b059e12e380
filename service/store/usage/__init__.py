"""Usage: sums of runs, tokens and cost, maintained when a run ends."""
