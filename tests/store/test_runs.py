"""A run's rows, on both databases: what is written is what is read, by its owner alone."""
