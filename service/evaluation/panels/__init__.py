"""Panels: each agent answers a question once, and all strategies work from these answers."""
