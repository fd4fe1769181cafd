"""Pages about users, groups, API keys and the audit log."""
