"""Opens many streams at once and reads them: `python -m bench.streams PORT KEY STREAMS`. Prints JSON."""

import asyncio
import json
import re
import sys
import time

import uvloop

SENT = re.compile(rb'"created":(\d{6,})')
BODY = json.dumps(
    {"model": "bench/bench", "messages": [{"role": "user", "content": "x" * 800}], "stream": True}
).encode()


async def read_one(port: int, key: str, delays: list[float]) -> tuple[int, bool]:
    """Chunks seen, and whether the stream ended properly."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    writer.write(head.encode() + BODY)
    chunks, done = 0, False
    while not done:
        data = await reader.read(65536)
        if not data:
            break
        now = time.monotonic_ns()
        sent = [int(stamp) for stamp in SENT.findall(data)]
        delays += [(now - stamp) / 1e6 for stamp in sent]
        chunks += len(sent)
        done = b"data: [DONE]" in data
    writer.close()
    return chunks, done


async def main(port: int, key: str, streams: int) -> None:
    delays: list[float] = []
    results = await asyncio.gather(*(read_one(port, key, delays) for _ in range(streams)))
    delays.sort()
    print(
        json.dumps(
            {
                "chunks": sum(chunks for chunks, _ in results),
                "ended": sum(done for _, done in results),
                "p50_ms": delays[len(delays) // 2],
                "p99_ms": delays[int(len(delays) * 0.99)],
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
