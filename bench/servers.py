"""The servers that are measured, one beside the other: how each is started and asked."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import LOAD_CORE, SERVER_CORE, Process, free_port, wait_for
from llmmesh.environment import create_missing_secrets

HERE = Path(__file__).parent
PEERS = HERE.parent / ".venv-peers"
ROUTE, TRANSLATED = "fast", "claude"
"""Routes to the upstream's OpenAI dialect and to its Anthropic dialect."""
MESH, NGINX, PORTKEY, LITELLM, DIRECT = "LLM Mesh", "nginx proxy_pass", "Portkey gateway", "LiteLLM proxy", "direct"
PRODUCTION = PEERS / "production" / "bin" / "python"
"""Of an environment without development tools, some of which libraries load where they find them."""
LEFT_OUT = {"DATABASE_URL", "REDIS_URL", "PYTHONDONTWRITEBYTECODE"}
"""Names that peers would take for their own, and one that makes every start compile everything."""


@dataclass
class Server:
    """One that answers chat requests. Only the one that is measured runs; the others are held."""

    name: str
    port: int
    process: Process
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = "gpt-4o-mini"
    path: str = "/v1/chat/completions"
    ready: float = 0.0
    """Seconds from its start to its first healthy answer."""

    @contextmanager
    def running(self) -> Iterator[Process]:
        self.process.signal(signal.SIGCONT)
        try:
            yield self.process
        finally:
            if self.name != DIRECT:  # all others need it
                self.process.signal(signal.SIGSTOP)


@dataclass
class Lab:
    """A folder, a filled database, an upstream and, unless limits are counted in memory, a Valkey."""

    folder: Path
    valkey: bool
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        create_missing_secrets(self.folder)
        self.upstream_port = free_port()
        self.plain = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
        self.env = {
            **self.plain,
            "MESH_DATA_DIR": str(self.folder),
            "DATABASE_URL": os.environ.get("DATABASE_URL") or f"sqlite:///{self.folder / 'bench.sqlite3'}",
            "MESH_PRIVATE_ADDRESSES": "127.0.0.0/8",
            "MESH_LOCAL_MODEL": "off",
            "REDIS_URL": "",
        }
        self.upstream = self.start(
            "upstream", [sys.executable, "-m", "bench.upstream", str(self.upstream_port)], LOAD_CORE
        )
        told = json.loads(self.python("-m", "bench.seed", str(self.upstream_port)))
        self.key, self.web_options = told["key"], told["web"]
        if self.valkey:
            self.env["REDIS_URL"] = told["redis_url"]
            self.valkey_process = self.start("valkey", told["valkey"], SERVER_CORE)

    def start(self, name: str, command: Sequence[str], *cores: int, env: Mapping[str, str] | None = None) -> Process:
        process = Process(command, self.folder / f"{name}.log", self.plain if env is None else env, cores)
        self.processes.append(process)
        return process

    def python(self, *arguments: str, given: str | None = None) -> str:
        """What a program of ours prints on its last line."""
        done = subprocess.run(
            [sys.executable, *arguments], env=self.env, input=given, stdout=subprocess.PIPE, text=True, check=True
        )  # fmt: skip
        return done.stdout.splitlines()[-1]

    def close(self) -> None:
        for process in reversed(self.processes):
            process.stop()

    def direct(self) -> Server:
        return Server(DIRECT, self.upstream_port, self.upstream)

    def mesh(self, name: str = "mesh") -> Server:
        port = free_port()
        command = [python(), "-m", "uvicorn", "llmmesh.asgi:application", "--port", str(port)]
        process = self.start(name, [*command, *self.web_options], SERVER_CORE, env=self.env)
        return self._mesh_at(port, process)

    def meshes(self, workers: int) -> Server:
        """As `manage.py up` runs several web processes, on every core."""
        port = free_port()
        command = [python(), "manage.py", "up", "--only", "gateway"]
        env = {**self.env, "MESH_WEB_WORKERS": str(workers), "PORT": str(port)}
        process = self.start("up", command, SERVER_CORE, LOAD_CORE, env=env)
        return self._mesh_at(port, process)

    def _mesh_at(self, port: int, process: Process) -> Server:
        ready = wait_for(process, port, "/healthz")
        return Server(MESH, port, process, {"Authorization": f"Bearer {self.key}"}, ROUTE, ready=ready)

    def nginx(self) -> Server:
        port, path = free_port(), self.folder / "nginx.conf"
        text = (HERE / "nginx.conf").read_text()
        for name, value in {
            "folder": self.folder,
            "port": port,
            "upstream": self.upstream_port,
            "key": self.key,
        }.items():
            text = text.replace("{{" + name + "}}", str(value))
        path.write_text(text)
        process = self.start("nginx", ["nginx", "-c", str(path)], SERVER_CORE)
        wait_for(process, port, "/alive")
        return Server(NGINX, port, process, {"Authorization": f"Bearer {self.key}"})

    def portkey(self) -> Server:
        port = free_port()
        program = PEERS / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        process = self.start("portkey", ["node", str(program), f"--port={port}", "--headless"], SERVER_CORE)
        wait_for(process, port, "/")
        headers = {
            "Authorization": "Bearer sk-bench",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{self.upstream_port}/v1",
        }
        return Server(PORTKEY, port, process, headers)

    def litellm(self) -> Server:
        port, path = free_port(), self.folder / "litellm.json"
        target = {"model": "openai/gpt-4o-mini", "api_base": f"http://127.0.0.1:{self.upstream_port}/v1"}
        config = {
            "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": {**target, "api_key": "sk-bench"}}],
            "general_settings": {"master_key": self.key},
        }
        path.write_text(json.dumps(config))  # which is YAML too
        program = str(PEERS / "litellm" / "bin" / "litellm")
        command = [program, "--config", str(path), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        env = {**self.plain, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        process = self.start("litellm", command, SERVER_CORE, env=env)
        wait_for(process, port, "/health/liveliness")
        return Server(LITELLM, port, process, {"Authorization": f"Bearer {self.key}"})


def python() -> str:
    """What our servers run with."""
    return str(PRODUCTION) if PRODUCTION.exists() else sys.executable


def spy() -> str | None:
    """The program that looks into a running server."""
    return shutil.which("py-spy") or shutil.which("py-spy", path=PEERS / "py-spy" / "bin")


def missing_tools(peers: bool, profile: bool) -> str:
    """What to install first; empty: nothing."""
    if missing := [tool for tool in ("nginx", "wrk", "taskset") if shutil.which(tool) is None]:
        return f"Not installed: {', '.join(missing)}. Debian's packages are nginx-light, wrk and util-linux."
    if peers and not ((PEERS / "portkey").exists() and (PEERS / "litellm").exists() and shutil.which("node")):
        return "Install the peers first: make bench-peers. It needs Node and npm (Debian: nodejs, npm)."
    if profile and spy() is None:
        return "Install py-spy first: make bench-peers, or pip install py-spy in an environment of its own."
    return ""
