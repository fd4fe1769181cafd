"""The environment of a test process. A plugin (`-p`), because pytest-django reads the settings before any conftest."""

import os
import tempfile
from pathlib import Path

DATA_DIR = Path(os.environ.setdefault("MESH_DATA_DIR", tempfile.mkdtemp(prefix="mesh-tests-")))
if own := os.environ.get("PYTEST_XDIST_WORKER"):  # whoever shares a data folder shares the database
    DATA_DIR /= own
    os.environ["MESH_DATA_DIR"] = str(DATA_DIR)
os.environ.setdefault("MESH_PRIVATE_ADDRESSES", "127.0.0.0/8,::1/128,localhost")
os.environ.setdefault("MESH_CUSTOM_CLASSES", "tests.engines.fish:Fish,tests.engines.fish:Dies,langchain_core:Listed")
os.environ.setdefault("MESH_MODEL_FOLDERS", str(DATA_DIR / "weights"))

from llmmesh.environment import create_missing_secrets  # noqa: E402 - settings need the secrets

create_missing_secrets(DATA_DIR)
