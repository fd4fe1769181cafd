"""A constant upstream in OpenAI's dialect that costs a few microseconds: `python -m bench.upstream PORT RATE`.

A body with `"stream":true` is answered with CHUNKS chunks, RATE a second, each carrying the time it was sent.
"""

import asyncio
import re
import sys
import time

import uvloop

CHUNKS = 100
WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"word " * 60 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":180,"completion_tokens":60,"total_tokens":240}}'
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":%d,"model":"bench","choices":'
    b'[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"bench","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"bench","choices":[],'
    b'"usage":{"prompt_tokens":180,"completion_tokens":100,"total_tokens":280}}\n\ndata: [DONE]\n\n'
)
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Constant(asyncio.Protocol):
    rate = 50.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            found = LENGTH.search(self.buffer, 0, end)
            size = end + 4 + (int(found.group(1)) if found else 0)
            if len(self.buffer) < size:
                return
            request, self.buffer = self.buffer[:size], self.buffer[size:]
            if re.search(rb'"stream": ?true', request):
                self.transport.write(HEAD)
                self.send_chunk(CHUNKS)
            else:
                self.transport.write(ANSWER)

    def send_chunk(self, left: int) -> None:
        if self.transport.is_closing():
            return
        if not left:
            self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST))
            return
        chunk = CHUNK % time.monotonic_ns()
        self.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        asyncio.get_running_loop().call_later(1 / self.rate, self.send_chunk, left - 1)


async def main(port: int, rate: float) -> None:
    Constant.rate = rate
    server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
