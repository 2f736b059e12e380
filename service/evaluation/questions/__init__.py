"""The questions of an evaluation, with their reference answers, read from a JSONL file."""
