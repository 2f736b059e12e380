"""Usage as plots and tables, for the pages of users and of administrators."""
