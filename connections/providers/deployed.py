"""What engines may read and run: nothing, unless the deployment lists it. Never set from a page."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass
class Deployed:
    folders: tuple[str, ...] = ()
    """Below these, local weights may lie."""
    classes: tuple[str, ...] = ()
    """Classes of installed packages, as `module:Class`."""

    def allow(self, folders: Iterable[str], classes: Iterable[str]) -> None:
        """Exactly these from now on. Raises ValueError for what is no folder's or class's name."""
        self.folders = tuple(folder.strip() for folder in folders if folder.strip())
        self.classes = tuple(name.strip() for name in classes if name.strip())
        if wrong := next((folder for folder in self.folders if not folder.startswith("/")), ""):
            raise ValueError(f"MESH_MODEL_FOLDERS needs whole paths that begin with /, unlike {wrong}.")
        if wrong := next((name for name in self.classes if not CLASS.fullmatch(name)), ""):
            raise ValueError(f"MESH_CUSTOM_CLASSES lists classes as module:Class, unlike {wrong}.")


deployed = Deployed()
