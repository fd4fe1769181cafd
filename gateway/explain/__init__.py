"""What would become of a call, told without making it."""
