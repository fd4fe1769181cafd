"""Routes as admins make them: pages, API, acts. What a call does with one stands in `gateway.routing`."""
