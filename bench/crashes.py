"""Kills the server under load and counts the answers whose usage row is missing: `python -m bench.crashes JSON`.

As a program it is the load: it asks until the server is gone, and prints the ids of all calls that were answered whole.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from bench.machine import LOAD_CORE, pinned
from bench.servers import Lab, Server

CRASHES, SECONDS, CALLERS = 3, 2.0, 32
REQUEST_ID = re.compile(rb"x-request-id: ([^\r]+)\r\n", re.IGNORECASE)
LENGTH = re.compile(rb"content-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Crash:
    acknowledged: int
    unwritten: int


def crash(lab: Lab) -> Crash:
    """Several times, with whole answers and streams side by side."""
    acknowledged = [name for _ in range(CRASHES) for name in _answered_until_killed(lab.mesh())]
    lab.mesh().process.stop()  # it takes over what the last one may have left in its journal
    unwritten = int(lab.python("-m", "bench.rows", given="\n".join(acknowledged)))
    return Crash(len(acknowledged), unwritten)


def _answered_until_killed(server: Server) -> list[str]:
    load = {"port": server.port, "path": server.path, "headers": server.headers, "model": server.model}
    command = [*pinned(LOAD_CORE), sys.executable, "-m", "bench.crashes", json.dumps(load)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        time.sleep(SECONDS)
        server.process.kill()
        output, _ = client.communicate()
    return output.split()


def _request(load: dict[str, Any], prompt: str, stream: bool) -> bytes:
    body = {"model": load["model"], "messages": [{"role": "user", "content": prompt}], "stream": stream}
    encoded = json.dumps(body).encode()
    headers = {"Host": "bench", "Content-Type": "application/json", "Content-Length": len(encoded), **load["headers"]}
    lines = [f"POST {load['path']} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + encoded


async def _ask(port: int, request: bytes, answered: list[str]) -> None:
    """Again and again on one connection, until it breaks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if length := LENGTH.search(head):
            await reader.readexactly(int(length.group(1)))
        else:
            await reader.readuntil(b"data: [DONE]")
            await reader.readuntil(b"0\r\n\r\n")
        found = REQUEST_ID.search(head)
        if found and head.startswith(b"HTTP/1.1 200"):
            answered.append(found.group(1).decode())


async def main(load: dict[str, Any]) -> None:
    answered: list[str] = []
    whole, stream = _request(load, "x" * 800, False), _request(load, "rate=200 chunks=10", True)
    asking = [_ask(load["port"], request, answered) for request in [whole, stream] * (CALLERS // 2)]
    await asyncio.gather(*asking, return_exceptions=True)
    print("\n".join(answered))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
