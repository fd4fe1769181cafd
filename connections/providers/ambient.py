"""Clouds whose SDKs may use this machine's own identity: none, unless the deployment lists them.

The host's role is not an admin's to lend: the list comes from `MESH_AMBIENT_IDENTITY`, never from a page.
"""

from collections.abc import Iterable

CLOUDS = ("aws", "google", "azure")

allowed: set[str] = set()
"""Those that the deployment lists."""


def allow(names: Iterable[str]) -> None:
    """Exactly these from now on. Raises ValueError for a cloud that we do not know."""
    listed = {name.strip() for name in names}
    if unknown := sorted(listed - set(CLOUDS)):
        raise ValueError(f"MESH_AMBIENT_IDENTITY knows {', '.join(CLOUDS)}, but not {', '.join(unknown)}.")
    allowed.clear()
    allowed.update(listed)
