#!/usr/bin/env python3
"""Run a command with `DATABASE_URL` naming a PostgreSQL server.

Uses `DATABASE_URL` if it is set, else a server that answers on this machine, else starts one of Debian's in a
temporary folder for as long as the command runs.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

DEBIAN = Path("/usr/lib/postgresql")
LOCAL = "postgres://postgres@127.0.0.1:5432/postgres"


def main(command: list[str]) -> int:
    with server() as url:
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode  # noqa: S603 - the caller's own


@contextmanager
def server() -> Iterator[str]:
    if url := os.environ.get("DATABASE_URL"):
        yield url
    elif answers(LOCAL):
        yield LOCAL
    else:
        with temporary_server() as url:
            yield url


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def temporary_server() -> Iterator[str]:
    """A server that trusts everybody who can reach its socket, without TCP and without a promise to keep data."""
    folder = Path(tempfile.mkdtemp(prefix="mesh-postgres-"))
    data = folder / "data"
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=200"
    try:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres", "postgres")
        run("initdb", "--auth=trust", "--username=postgres", "--pgdata", str(data))
        run("pg_ctl", "--pgdata", str(data), "--log", str(folder / "log"), "--options", options, "--wait", "start")
        yield f"postgres://postgres@/postgres?host={folder}"
    finally:
        run("pg_ctl", "--pgdata", str(data), "--mode=immediate", "--wait", "stop", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def run(program: str, *arguments: str, check: bool = True) -> None:
    newest_first = sorted(DEBIAN.glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    path = shutil.which(program, path=os.pathsep.join([*map(str, newest_first), os.environ["PATH"]]))
    if path is None:
        sys.exit(f"There is no PostgreSQL here ({program} is missing). Install it, or set DATABASE_URL.")
    user = pwd.getpwnam("postgres").pw_name if os.geteuid() == 0 else None
    subprocess.run([path, *arguments], user=user, cwd="/", stdout=subprocess.DEVNULL, check=check)  # noqa: S603 - our own list


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
