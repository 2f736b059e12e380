"""Budgets: amounts that runs reserve before they spend them, exact across processes."""
