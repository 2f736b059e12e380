"""`/web/chat`: questions, agents that answer at the same time, and one answer."""
