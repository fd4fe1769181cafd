"""How fast and how many at once: limits on requests, tokens and parallel calls, shared by all processes."""
