"""Statistics of comparisons: intervals, exact tests, verdicts, biases of judges. Pure functions."""
