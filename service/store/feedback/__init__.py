"""Feedback: ratings of answers and of agents, one for each run and each of its agents."""
