"""Clouds whose SDKs may use this machine's own identity: none, unless the deployment lists them.

The host's role is not an admin's to lend: the list comes from `MESH_AMBIENT_IDENTITY`, never from a page.
"""

CLOUDS = ("aws", "google", "azure")

allowed: set[str] = set()
"""Those that the deployment lists."""


def allow(names: list[str]) -> None:
    """Exactly these from now on. Raises ValueError for a cloud that we do not know."""
    unknown = sorted(set(names) - set(CLOUDS))
    if unknown:
        raise ValueError(f"MESH_AMBIENT_IDENTITY knows {', '.join(CLOUDS)}, but not {', '.join(unknown)}.")
    allowed.clear()
    allowed.update(names)
