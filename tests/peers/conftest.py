"""Real servers of others, each in an environment of its own that `make test-peers` has made."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connections.exchange import Exchange
from connections.providers import registry
from connections.providers.calls import Call, Mode, Reply, Target
from connections.transport import NetworkOptions, Timeouts, Transport
from tests.peers import programs
from tests.streamed import chunks_of

HOME = Path(os.environ.get("PEERS_HOME", ".venv-peers")).absolute()
PATIENCE = 180.0
"""Seconds until a server must answer; some load PyTorch."""
FRANCE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
]


def python_of(name: str) -> str:
    program = HOME / name / "bin" / "python"
    if not program.exists():
        pytest.skip(f"The environment {name} is not there: run make test-peers.")
    return str(program)


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


class Peer:
    """One process, and where it answers."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        self.url, self.log = f"http://127.0.0.1:{port}", log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=environment, cwd=log.parent, stdout=output, stderr=output, start_new_session=True
            )

    def wait(self, path: str, *, post: bool = False) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            try:
                with urllib.request.urlopen(self.url + path, b"{}" if post else None, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                if error.code < 500:  # a server that is still loading says 503
                    return
            except OSError:
                pass
            time.sleep(0.3)
        raise AssertionError(f"No answer within {PATIENCE:g} s: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Peer]]:
    """`start(command, port, ready)`: a server that answers at the path `ready`."""
    folder, running = tmp_path_factory.mktemp("peers"), []

    def make(command: list[str], port: int, ready: str, *, post: bool = False) -> Peer:
        peer = Peer(command, port, folder / f"{len(running)}.log")
        running.append(peer)
        peer.wait(ready, post=post)
        return peer

    yield make
    for peer in running:
        peer.stop()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """Writes a program's text into a file."""

    def write(name: str, text: str) -> str:
        path = tmp_path_factory.mktemp("programs") / name
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture(scope="session")
def llama(start: Any, program: Any, weights: Path) -> Peer:
    port = free_port()
    command = [sys.executable, program("llama.py", programs.LLAMA), str(weights), str(port)]
    return start(command, port, "/health")  # type: ignore[no-any-return]


class Asked:
    """What one adapter got out of one real server."""

    def __init__(self, kind: str, settings: dict[str, Any]) -> None:
        provider = registry.providers()[kind]
        self.provider = provider(provider.Settings.model_validate(settings))

    def exchange(self, transport: Transport) -> Exchange:
        return Exchange(transport, self.provider, NetworkOptions(), Timeouts())

    async def whole(self, target: Target, mode: Mode = Mode.CHAT, **body: Any) -> Reply:
        async with Transport() as transport:
            return await self.exchange(transport).ask(Call(mode, target, asked(mode, body)))

    async def stream(self, target: Target, mode: Mode = Mode.CHAT, **body: Any) -> tuple[list[bytes], Any]:
        """The chunks, and what was told about them."""
        call = Call(mode, target, asked(mode, body), stream=True)
        async with Transport() as transport, self.exchange(transport).stream(call) as stream:
            return await chunks_of(stream), stream

    async def names(self) -> list[str]:
        async with Transport() as transport:
            exchange = self.exchange(transport)
            answer = await exchange.check()
            return [info.id for info in await exchange.run(self.provider.listing(answer))]


def asked(mode: Mode, body: dict[str, Any]) -> dict[str, Any]:
    usual = {Mode.CHAT: {"messages": FRANCE}, Mode.COMPLETION: {"prompt": "Once upon a time"}}
    return {**usual.get(mode, {}), "max_tokens": 20, "temperature": 0, **body}


@pytest.fixture
def ask() -> type[Asked]:
    return Asked
