"""The front-end files that lie here are the ones that the manifest names."""

import hashlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = tomllib.loads((ROOT / "static/vendor/MANIFEST.toml").read_text())["package"]
FILES = {
    f"{package['folder']}/{name}": file["sha256"] for package in PACKAGES for name, file in package["files"].items()
}


@pytest.mark.parametrize("path", FILES)
def test_a_file_has_the_sum_that_the_manifest_names(path):
    assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == FILES[path]


def test_nothing_lies_in_the_vendor_folder_unnamed():
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "static/vendor").rglob("*") if path.is_file()}

    assert found - set(FILES) == {"static/vendor/MANIFEST.toml", "static/vendor/tabler-1.6.1/LICENSE"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["folder"])
def test_every_package_names_its_licence(package):
    beside = ROOT / package["folder"] / "LICENSE"

    assert package["licence"]
    assert beside.exists() or any(
        (ROOT / other["folder"] / "LICENSE").exists() for other in PACKAGES if other["name"] == package["name"]
    )
