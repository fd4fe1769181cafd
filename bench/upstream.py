"""A constant upstream that costs a few microseconds, in OpenAI's and Anthropic's dialect: `… bench.upstream PORT`.

A prompt that says `rate=50 chunks=100` is answered with that many chunks, that many a second. The text of each is
the time at which it was sent, so that whoever reads it knows how long it was on its way.
"""

import asyncio
import re
import sys
import time

import uvloop

WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"word " * 60 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":180,"completion_tokens":60,"total_tokens":240}}'
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
OPENAI = (
    b"",
    b'data: {"id":"c","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini","choices":'
    b'[{"index":0,"delta":{"content":"@%d "},"finish_reason":null}]}\n\n',
    b'data: {"id":"c","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini","choices":[],'
    b'"usage":{"prompt_tokens":180,"completion_tokens":100,"total_tokens":280}}\n\ndata: [DONE]\n\n',
)
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"claude-sonnet-5-5","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":180,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"@%d "}}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":100}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
)
"""Beginning, chunk and end of a stream."""
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
WANTED = re.compile(rb"rate=(\d+) chunks=(\d+)")


class Constant(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            found = LENGTH.search(self.buffer, 0, end)
            size = end + 4 + (int(found.group(1)) if found else 0)
            if len(self.buffer) < size:
                return
            request, self.buffer = self.buffer[:size], self.buffer[size:]
            self.answer(request)

    def answer(self, request: bytes) -> None:
        wanted = WANTED.search(request) if b"rate=" in request else None
        if wanted is None:
            self.transport.write(ANSWER)
            return
        self.start, self.chunk, self.end = ANTHROPIC if request.startswith(b"POST /v1/messages") else OPENAI
        self.pause = 1 / int(wanted.group(1))
        self.transport.write(HEAD)
        self.send(int(wanted.group(2)), self.start)

    def send(self, left: int, before: bytes = b"") -> None:
        if self.transport.is_closing():
            return
        event = before + self.chunk % time.monotonic_ns() if left else self.end
        self.transport.write(b"%x\r\n%b\r\n%b" % (len(event), event, b"" if left else b"0\r\n\r\n"))
        if left:
            self.loop.call_later(self.pause, self.send, left - 1)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
