"""The money and tokens of a run: worst cases, and the amounts that its calls take and return."""
