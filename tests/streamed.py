"""A stream from a provider, to its end."""

from connections.exchange import Streaming


async def chunks_of(stream: Streaming) -> list[bytes]:
    chunks: list[bytes] = []
    while batch := await stream.batch():
        chunks += batch
    return chunks
