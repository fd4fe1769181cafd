#!/usr/bin/env python3
"""Django's command line; `up` starts everything."""

import os
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from llmmesh.environment import LOOPBACK, create_missing_secrets


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmmesh.settings")
    command, arguments = "".join(sys.argv[1:2]), sys.argv[2:]
    whole_machine = command == "up" and not any(argument.startswith(("--only", "--help")) for argument in arguments)
    if whole_machine or command == "prepare":
        folder = Path(os.environ.get("MESH_DATA_DIR") or Path(__file__).resolve().parent / "var")
        create_missing_secrets(folder.resolve())
    if whole_machine:
        os.environ.setdefault("MESH_PRIVATE_ADDRESSES", LOOPBACK)
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"LLM Mesh cannot start: {error}")


if __name__ == "__main__":
    main()
