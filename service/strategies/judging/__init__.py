"""Judges: models whose answers, as JSON, decide about the answers of others."""
