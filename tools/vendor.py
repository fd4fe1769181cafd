#!/usr/bin/env python3
"""Re-create the front-end files that lie in this repository, from the packages they come from.

`static/vendor/MANIFEST.toml` names each package, version, file and SHA-256. This fetches every package with
`npm pack`, writes the files and compares the sums. `--update` writes new sums instead: use it after adding
a file or changing a version, and read the difference before committing.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "static/vendor/MANIFEST.toml"
ICON_TAG = (
    b'<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.5"'
    b' stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">'
)
AROUND_SHAPE = re.compile(rb'<svg[^>]*>|</svg>|<path stroke="none" d="M0 0h24v24H0z"[^>]*/>|<!--.*?-->', re.S)
"""What is no part of the drawing: the outer tag, comments, an invisible frame."""


def as_icon(svg: bytes) -> bytes:
    """An inline icon: coloured by its text, sized by its class, silent for screen readers."""
    shape = AROUND_SHAPE.sub(b"", svg)
    return ICON_TAG + re.sub(rb"\s*\n\s*", b"", shape) + b"</svg>\n"


def fetch(package: dict[str, Any], folder: Path) -> tarfile.TarFile:
    """The package's own archive."""
    command = ["npm", "pack", "--silent", f"{package['name']}@{package['version']}"]
    packed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603 - our own list
    return tarfile.open(folder / packed.stdout.split()[-1])


def contents(package: dict[str, Any], archive: tarfile.TarFile) -> dict[str, bytes]:
    """Path in this repository → bytes, for one package."""
    found = {}
    for name, file in package["files"].items():
        member = archive.extractfile(f"package/{file['source']}")
        if member is None:
            raise SystemExit(f"{package['name']} has no file {file['source']}.")
        data = member.read()
        found[f"{package['folder']}/{name}"] = as_icon(data) if package.get("icons") else data
    return found


def noted(text: str, package: dict[str, Any], name: str, found: str) -> str:
    """The manifest's text with another sum for one file of one package."""
    head, folder, tail = text.partition(f'folder = "{package["folder"]}"')
    file = package["files"][name]
    line = f'"{name}" = {{ source = "{file["source"]}", sha256 = "'
    return head + folder + tail.replace(f'{line}{file["sha256"]}"', f'{line}{found}"', 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="write the sums found into the manifest")
    options = parser.parse_args()
    text = MANIFEST.read_text()
    wrong = []
    for package in tomllib.loads(text)["package"]:
        print(package["name"], package["version"], file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder, fetch(package, Path(folder)) as archive:
            written = contents(package, archive)
        for path, data in written.items():
            found = hashlib.sha256(data).hexdigest()
            if found != package["files"][Path(path).name]["sha256"]:
                wrong.append(path)
                text = noted(text, package, Path(path).name, found)
            target = ROOT / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    if options.update:
        MANIFEST.write_text(text)
    elif wrong:
        raise SystemExit(f"These files differ from the manifest: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
