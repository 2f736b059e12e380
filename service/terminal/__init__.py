"""The terminal client: questions, a chat, and a live view of a service."""
