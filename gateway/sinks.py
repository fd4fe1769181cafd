"""Where the answer to a call of `/v1` goes."""

from typing import Protocol


class Sink(Protocol):
    """Takes one answer: whole by `answer`, or as a stream by `begin`, then `write` as often as it likes, then `end`.

    `lines`: what the head says of it, each line with its line break; the server adds what concerns the connection.
    """

    @property
    def full(self) -> bool:
        """Whether the client takes what is written more slowly than it comes: await `room` before the next `write`."""

    async def answer(self, status: int, lines: bytes, body: bytes) -> None: ...

    def begin(self, status: int, lines: bytes) -> None: ...

    def write(self, data: bytes) -> None: ...

    async def room(self) -> None: ...

    async def end(self, data: bytes) -> None: ...
