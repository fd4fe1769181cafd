"""Reads streams and tells when their chunks came: `python -m bench.streams JSON`. Prints JSON.

Side by side, begun over a second so that they do not march in step (`"alone": false`), or one after the other.
"""

import asyncio
import json
import re
import sys
import time
from typing import Any

import uvloop

SENT = re.compile(rb"@(\d+) ")
PROMPT = "rate={rate} chunks={chunks} " + "x" * 760
PATIENCE = 120.0
"""Seconds."""


class Reading(asyncio.Protocol):
    """One stream. `ended` is done when it is over, properly or not."""

    def __init__(self) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self.delays: list[float] = []
        """Milliseconds that each chunk was on its way."""
        self.first = 0
        """When the first chunk came, in ns."""
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._rest + data
        found = [now - int(stamp) for stamp in SENT.findall(data)]
        if found:
            self.first = self.first or now
            self.delays += [delay / 1e6 for delay in found]
        if data.find(b"data: [DONE]") >= 0:
            self._over(True)
        self._rest = data[data.rfind(b"\n\n") + 1 :]

    def connection_lost(self, error: Exception | None) -> None:
        self._over(False)

    def _over(self, properly: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(properly)


class Client:
    def __init__(self, load: dict[str, Any]) -> None:
        self.load = load
        content = PROMPT.format(**load)
        body = {"model": load["model"], "messages": [{"role": "user", "content": content}], "stream": True}
        headers = {"Host": "bench", "Content-Type": "application/json", **load["headers"]}
        encoded = json.dumps(body).encode()
        head = [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {len(encoded)}"]
        self.request = "\r\n".join([f"POST {load['path']} HTTP/1.1", *head, "", ""]).encode() + encoded

    async def read(self, wait: float = 0) -> tuple[Reading, float]:
        """The stream, and the milliseconds to its first chunk."""
        await asyncio.sleep(wait)
        loop = asyncio.get_running_loop()
        transport, reading = await loop.create_connection(Reading, "127.0.0.1", self.load["port"])
        began = time.monotonic_ns()
        transport.write(self.request)
        await asyncio.wait({reading.ended}, timeout=self.load.get("patience", PATIENCE))
        transport.close()
        return reading, (reading.first - began) / 1e6

    async def run(self) -> dict[str, Any]:
        count = self.load["streams"]
        if self.load["alone"]:
            read = [await self.read() for _ in range(count)]
        else:
            read = await asyncio.gather(*(self.read(place / count) for place in range(count)))
        delays = sorted(delay for reading, _ in read for delay in reading.delays)
        firsts = sorted(first for reading, first in read if reading.first)
        ended = sum(reading.ended.done() and reading.ended.result() for reading, _ in read)
        return {
            "units": len(delays),
            "lost": count * self.load["chunks"] - len(delays),
            "failed": count - ended,
            "p50_ms": firsts[len(firsts) // 2] if self.load["alone"] else delays[len(delays) // 2],
            "p99_ms": firsts[int(len(firsts) * 0.99)] if self.load["alone"] else delays[int(len(delays) * 0.99)],
        }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(Client(json.loads(sys.argv[1])).run())))
