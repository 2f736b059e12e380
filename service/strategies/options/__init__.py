"""Options of a request that strategies of several agents need help with: tools, answer formats."""
