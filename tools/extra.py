"""Prints what one of our extras asks for, without what LLM Mesh itself needs: `python tools/extra.py engines`."""

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    print("\n".join(extras[sys.argv[1]]))
