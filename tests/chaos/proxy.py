"""The fault proxy: a TCP connection in between, which can be told to pass bytes badly.

    proxy = Proxy(("127.0.0.1", 5432))
    proxy.stall()          # it still takes connections, but nothing passes
    proxy.heal()

Each fault holds for the connections there are and for those to come, until `heal`.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

Address = tuple[str, int] | Path
"""Host and port, or a Unix socket."""
Way = Literal["there", "back"]
PIECE = 65536
SLICES = 20
"""Per second, when only so many bytes may pass in one."""


class Proxy:
    def __init__(self, target: Address) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._lines: set[asyncio.StreamWriter] = set()
        self._clear()
        threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True).start()
        self._server = self._run(self._listen(0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    # --- for tests

    def delay(self, seconds: float) -> None:
        """Every piece waits so long, both ways."""
        self._delay = seconds

    def slow(self, rate: int) -> None:
        """So many bytes per second and connection, each way."""
        self._rate = rate

    def lose(self, way: Way) -> None:
        """What goes this way vanishes; the other way is open."""
        self._lost = way

    def stall(self) -> None:
        """Connections stay open and are taken, but nothing passes."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def reset(self) -> None:
        """Cut what is there with RST; new connections pass."""
        self._run(self._cut_lines())

    def cut(self) -> None:
        """Cut what is there with RST and refuse new connections."""
        self._run(self._close())

    def heal(self) -> None:
        self._run(self._heal())

    def stop(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)

    @property
    def open_lines(self) -> int:
        return len(self._lines)

    # --- the server

    def _clear(self) -> None:
        self._delay = 0.0
        self._rate = 0
        self._lost: Way | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def _close(self) -> None:
        self._server.close()
        await self._cut_lines()

    async def _end(self) -> None:
        await self._close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _heal(self) -> None:
        waiting = self._flowing
        self._clear()
        waiting.set()
        if not self._server.is_serving():
            self._server = await self._listen(self.port)

    async def _cut_lines(self) -> None:
        for line in list(self._lines):
            with suppress(OSError):  # it may be closed by now; a Unix socket knows no RST
                line.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        beyond: asyncio.StreamWriter | None = None
        try:
            answers, beyond = await self._connect()
            self._lines.add(beyond)
            await asyncio.gather(self._pass("there", reader, beyond), self._pass("back", answers, writer))
        except (OSError, asyncio.CancelledError):
            pass  # nobody is there, or it is over
        finally:
            for line in (writer, beyond):
                if line is not None:
                    self._lines.discard(line)
                    line.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(str(self._target))
        return await asyncio.open_connection(*self._target)

    async def _pass(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(self._rate // SLICES + 1 if self._rate else PIECE):
                await self._flowing.wait()
                if pause := self._delay or (self._rate and 1 / SLICES):
                    await asyncio.sleep(pause)
                if self._lost != way:
                    writer.write(piece)
                    await writer.drain()
        with suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()
            if way == "back":
                writer.close()  # the server has said its last word
