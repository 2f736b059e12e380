"""The execution of an evaluation: bounded, limited in cost, and continued after any end."""
