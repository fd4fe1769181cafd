"""Local weights: only below the folders that the deployment lists, wherever links lead."""

from collections.abc import Sequence
from pathlib import Path

from connections.engines.told import Missing


def find(name: str, folders: Sequence[str]) -> Path:
    """The file or folder of this name below one of `folders`, its links resolved."""
    if not folders:
        raise Missing("No folder may be read here. Set MESH_MODEL_FOLDERS to the folders with your models.")
    for folder in folders:
        root = Path(folder).resolve()
        found = (root / name).resolve()
        if found.exists():
            if root not in found.parents:
                raise Missing(f"{name} leads out of the folder {folder}. Put the files themselves there.")
            return found
    raise Missing(f"There is no {name} in {' or '.join(folders)}.")


def checkpoint(name: str, folders: Sequence[str]) -> Path:
    """A folder as Hugging Face lays one out, its weights as safetensors; every file must lie inside `folders` too."""
    path = find(name, folders)
    if not (path / "config.json").is_file():
        raise Missing(f"{name} is no checkpoint: it has no config.json.")
    if not any(path.glob("*.safetensors")):
        raise Missing(f"{name} has no weights as safetensors. Other formats can run code and are not loaded.")
    for file in path.rglob("*"):
        _check_inside(file, folders)
    return path


def weights(name: str, folders: Sequence[str]) -> Path:
    """A GGUF file."""
    path = find(name, folders)
    if not path.is_file() or path.open("rb").read(4) != b"GGUF":
        raise Missing(f"{name} is no GGUF file.")
    return path


def _check_inside(file: Path, folders: Sequence[str]) -> None:
    found = file.resolve()
    if not any(Path(folder).resolve() in found.parents for folder in folders):
        raise Missing(f"{file.name} is a link that leads out of {' and '.join(folders)}. Put the file itself there.")


def size(path: Path) -> int:
    """Bytes of the weights."""
    files = [path] if path.is_file() else list(path.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files)
