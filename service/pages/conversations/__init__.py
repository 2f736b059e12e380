"""The pages of conversations: their list, search in them, and the branches of one."""
