"""One connection and those that are kept, against servers that cut, mix and flood their answers."""

import asyncio
import gzip
import hashlib
import random
import socket
import ssl

import pytest
import uvloop

from connections import dialing, wire
from connections.providers.calls import Framing, Outgoing
from connections.providers.errors import BadReply, TimedOut, TLSFailed, Unreachable
from connections.transport import NetworkOptions, Timeouts, Transport
from tests.connections.test_transport import QUICK, Authority, frames_of, post, saying
from tests.upstream.raw import chunk, events, raw_server, whole

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
SECOND = whole(b"what another caller may see")


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request):
    return request.param()


@pytest.fixture
async def transport():
    async with Transport() as transport:
        yield transport


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(params=["plain", "tls"])
def wrapping(request, authority, tmp_path):
    """What servers, URLs and calls need in order to speak plainly or through TLS."""
    if request.param == "plain":
        return None, "http:", NetworkOptions()
    return authority.server(tmp_path), "https:", NetworkOptions(authority.pem)


def repeating(*said: bytes, then: bytes = b""):
    """A server that says this to each request, and something more a moment later."""

    async def answer(connection):
        while True:
            await connection.request()
            await connection.say(*said)
            await asyncio.sleep(0.05)
            await connection.say(then)

    return answer


# Answers in any number of pieces

PACKED = gzip.compress(b"data: 1\n\ndata: 2\n\n")
WHOLE_ANSWERS = {
    "with a length": whole(b"data: 1\n\ndata: 2\n\n", b"X-One: 1", b"X-One:"),
    "after others": CONTINUED + whole(b"data: 1\n\ndata: 2\n\n"),
    "in chunks": events() + chunk(b"data: 1\n") + chunk(b"\ndata: 2\n\n") + chunk(b""),
    "in chunks with extensions and trailers": events()
    + b'9  ;a=b;c="d"\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0;last\r\nX-Sum: 1\r\nContent-Encoding: br\r\n\r\n',
    "packed": events(b"Content-Encoding: gzip") + chunk(PACKED[:9]) + chunk(PACKED[9:]) + chunk(b""),
    "until it is closed": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\ndata: 2\n\n",
}


@pytest.mark.parametrize("said", WHOLE_ANSWERS.values(), ids=WHOLE_ANSWERS.keys())
async def test_an_answer_may_be_cut_anywhere(transport, said):
    cuts = iter(range(1, len(said)))

    async def answer(connection):
        while True:
            await connection.request()
            at = next(cuts)
            await connection.say(said[:at])
            await asyncio.sleep(0.001)
            await connection.say(said[at:])
            if b"Content-Length" not in said and b"chunked" not in said:
                break

    async with raw_server(answer) as server:
        for _ in range(1, len(said)):
            assert await frames_of(transport, server.url) == [b"1", b"2"]


async def test_an_answer_may_come_byte_by_byte(transport):
    said = WHOLE_ANSWERS["in chunks with extensions and trailers"]
    async with raw_server(repeating(*[said[i : i + 1] for i in range(len(said))])) as server:
        assert await frames_of(transport, server.url) == [b"1", b"2"]


async def test_trailers_are_no_headers(transport):
    said = events(b"X-Sum: 7") + chunk(b"ok") + b"0\r\nX-Sum: 8\r\nContent-Encoding: br\r\n\r\n"
    async with raw_server(saying(said)) as server:
        answer = await transport.send(post(server.url))
    assert (answer.body, answer.headers["x-sum"]) == (b"ok", "7")
    assert "content-encoding" not in answer.headers


async def test_spaces_around_a_header_are_not_part_of_it(transport):
    async with raw_server(saying(whole(b"ok", b"X-One: \ta b \t", b"X-Two:", b"X-Three:  "))) as server:
        headers = (await transport.send(post(server.url))).headers
    assert [headers[name] for name in ("x-one", "x-two", "x-three")] == ["a b", "", ""]


# Where an answer ends


@pytest.mark.parametrize(
    ("method", "said", "body"),
    [
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        ("POST", whole(b""), b""),
        ("POST", b"HTTP/1.1 200\r\nContent-Length: 2\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nok", b"ok"),
        ("POST", CONTINUED + whole(b"ok"), b"ok"),
    ],
)
async def test_after_a_whole_answer_the_connection_is_used_again(transport, method, said, body):
    async with raw_server(repeating(said)) as server:
        for _ in range(3):
            assert (await transport.send(Outgoing(method, server.url))).body == body
        assert server.connections == 1


@pytest.mark.parametrize(
    ("method", "said", "body"),
    [
        ("POST", whole(b"ok", b"Connection: close"), b"ok"),
        ("POST", whole(b"ok", b"Connection: x, Close"), b"ok"),
        ("POST", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b""),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    ],
)
async def test_after_a_last_answer_it_is_not(transport, method, said, body):
    async with raw_server(repeating(said)) as server:
        for _ in range(3):
            assert (await transport.send(Outgoing(method, server.url))).body == body
        assert server.connections == 3


@pytest.mark.parametrize("surplus", [SECOND, b"ok", b"\0" * 200_000], ids=["an answer", "bytes", "many bytes"])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
async def test_what_follows_an_answer_is_nobodys(transport, surplus, late):
    said = whole(b"mine")
    answer = repeating(said, then=surplus) if late else repeating(said + surplus)
    async with raw_server(answer) as server:
        for calls in range(1, 4):
            assert (await transport.send(post(server.url))).body == b"mine"
            await asyncio.sleep(0.1)
            assert server.connections == calls


async def test_a_server_that_hangs_up_at_once_gave_no_answer(transport, wrapping):
    """Up to TLS 1.2 its goodbye comes together with the end of the handshake."""
    context, scheme, options = wrapping
    if context:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def answer(connection):
        connection.writer.close()

    async with raw_server(answer, context) as server:
        for _ in range(20):
            with pytest.raises(Unreachable):
                await transport.send(post(server.url.replace("http:", scheme)), options=options, timeouts=QUICK)


async def test_no_answer_ever_reaches_another_caller(transport):
    """Callers who leave, servers who add, cut and hang up, all over the same few connections."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    right, failed = 0, 0

    async def answer(connection):
        while chance.random() < 0.9:
            told = (await connection.request()).partition(b"\r\n\r\n")[2]
            said = chance.choice([whole(told), events() + chunk(told) + chunk(b"")])
            surplus = chance.choice([b""] * 5 + [SECOND, events(), b"x"])
            at = chance.randrange(len(said))
            await connection.say(said[:at])
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.005]))
            if chance.random() < 0.05:
                return connection.reset()
            await connection.say(said[at:] + surplus)

    async def caller(name):
        nonlocal right, failed
        for call in range(60):
            told = b"%d of %d" % (call, name)
            patience = chance.choice([0.001, 0.004, 2, 2, 2, 2])
            try:
                async with asyncio.timeout(patience):
                    sent = await transport.send(Outgoing("POST", server.url, {}, told))
            except (TimeoutError, Unreachable, BadReply):
                failed += 1
            else:
                assert sent.body == told
                right += 1

    async with raw_server(answer) as server:
        await asyncio.gather(*[caller(name) for name in range(8)])
        assert server.connections < right + failed, "some are used again"
    assert right > 100


LIES = {
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a length and chunks": events(b"Content-Length: 2") + chunk(b"ok") + chunk(b""),
    "chunks and a length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "packed chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a chunk of unknown size": events() + b"0x2\r\nok\r\n0\r\n\r\n",
    "a chunk of 2⁶⁸ bytes": events() + b"fffffffffffffffff\r\n",
    "a longer chunk than it says": events() + b"2\r\nokay\r\n0\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nX-One: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a space before a colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "lines that end too early": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a status below 100": b"HTTP/1.1 042 OK\r\nContent-Length: 0\r\n\r\n",
    "a zero byte": b"HTTP/1.1 200 OK\r\nX-One: a\0b\r\nContent-Length: 0\r\n\r\n",
    "a name without end": b"HTTP/1.1 200 OK\r\n" + b"x" * 200_000,
    "early answers without end": CONTINUED * 5000,
    "trailers without end": events() + chunk(b"ok") + b"0\r\n" + b"X-Sum: 1\r\n" * 30_000,
}


@pytest.mark.parametrize("said", LIES.values(), ids=LIES.keys())
async def test_an_answer_with_a_false_end_is_a_bad_reply(transport, said):
    async def answer(connection):
        await connection.request()
        await connection.say(said)
        await connection.hang()

    async with raw_server(answer) as server:
        with pytest.raises(BadReply):
            await transport.send(post(server.url))
        await asyncio.wait_for(server.closed.wait(), 20)


async def test_what_came_before_a_lie_is_the_callers(transport):
    found = []
    said = events() + chunk(b"data: 1\n\n") + b"nonsense\r\n"
    async with raw_server(saying(said)) as server, transport.stream(post(server.url)) as incoming:
        with pytest.raises(BadReply):
            async for frames in incoming.frames(Framing.SSE):
                found += [frame.data for frame in frames]
    assert found == [b"1"]


# Connections that are kept


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_a_kept_connection_with_tls_that_died_is_replaced(transport, authority, tmp_path, ending):
    async def answer(connection):
        await connection.request()
        await connection.say(whole(b"ok"))
        if ending == "reset":
            connection.reset()

    async with raw_server(answer, authority.server(tmp_path)) as server:
        for calls in range(1, 4):
            url = server.url.replace("http:", "https:")
            assert (await transport.send(post(url), options=NetworkOptions(authority.pem))).body == b"ok"
            assert server.connections == calls


async def test_an_idle_connection_is_closed_in_time(transport, monkeypatch):
    monkeypatch.setattr(wire, "KEEP_ALIVE", 0.2)
    async with raw_server(repeating(whole(b"ok"))) as server:
        await transport.send(post(server.url))
        await transport.send(post(server.url))
        await asyncio.wait_for(server.closed.wait(), 20)
        await transport.send(post(server.url))
        assert server.connections == 2


async def test_a_transport_that_is_closed_closes_what_it_kept():
    async with raw_server(repeating(whole(b"ok"))) as server:
        async with Transport() as transport:
            await transport.send(post(server.url))
        await asyncio.wait_for(server.closed.wait(), 20)


async def test_a_transport_can_be_started_again():
    transport = Transport()
    async with raw_server(repeating(whole(b"ok"))) as server:
        for calls in range(1, 3):
            with pytest.raises(RuntimeError):
                await transport.send(post(server.url))
            async with transport:
                for _ in range(2):
                    await transport.send(post(server.url))
            assert server.connections == calls
        await transport.close()


async def test_trust_is_not_lent_to_calls_that_do_not_have_it(transport, authority, tmp_path):
    """A connection whose certificate one authority vouched for is no connection for those who do not know it."""
    async with raw_server(repeating(whole(b"ok")), authority.server(tmp_path)) as server:
        url = server.url.replace("http:", "https:")
        for _ in range(2):
            await transport.send(post(url), options=NetworkOptions(authority.pem))
        assert server.connections == 1
        with pytest.raises(TLSFailed):
            await transport.send(post(url))


async def test_a_connection_to_a_name_is_none_to_its_address(transport, settings):
    settings.PRIVATE_ADDRESSES = ["models.example", "other.example", "127.0.0.1"]
    looked_up = []

    async def lookup(host, port):
        looked_up.append(host)
        return ["127.0.0.1"]

    async with raw_server(repeating(whole(b"ok"))) as server, Transport(lookup) as transport:
        for host in ("models.example", "other.example", "127.0.0.1", "models.example"):
            await transport.send(post(f"http://{host}:{server.port}/"))
        assert server.connections == 3
    assert looked_up == ["models.example", "other.example"]
    assert b"Host: models.example:%d\r\n" % server.port in server.received


async def test_a_name_is_looked_up_once_for_all_who_wait(settings):
    settings.PRIVATE_ADDRESSES = ["models.example"]
    looked_up = []

    async def lookup(host, port):
        looked_up.append(host)
        await asyncio.sleep(0.05)
        return ["127.0.0.1"]

    async with raw_server(saying(whole(b"ok"))) as server, Transport(lookup) as transport:
        url = f"http://models.example:{server.port}/"
        await asyncio.gather(*[transport.send(post(url)) for _ in range(20)])
        assert server.connections == 20
    assert looked_up == ["models.example"]


async def test_addresses_are_remembered_for_a_moment_and_failures_are_not(settings):
    settings.PRIVATE_ADDRESSES = ["models.example"]
    looked_up = []

    async def lookup(host, port):
        looked_up.append(host)
        if len(looked_up) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return ["127.0.0.1"]

    async with raw_server(saying(whole(b"ok"))) as server, Transport(lookup) as transport:
        url = f"http://models.example:{server.port}/"
        with pytest.raises(Unreachable, match="not known"):
            await transport.send(post(url))
        for _ in range(3):
            await transport.send(post(url))
        assert server.connections == 3
    assert len(looked_up) == 2


@pytest.mark.parametrize("first", ["refuses", "is silent"])
async def test_an_address_that_does_not_answer_leaves_the_others(settings, first):
    settings.PRIVATE_ADDRESSES = ["models.example"]

    async def lookup(host, port):
        return ["127.0.0.2", "127.0.0.1"]

    async with raw_server(saying(whole(b"ok"))) as server, Transport(lookup) as transport:
        waiting = _full_queue("127.0.0.2", server.port) if first == "is silent" else []
        answer = await transport.send(post(f"http://models.example:{server.port}/"))
        assert answer.body == b"ok"
        for one in waiting:
            one.close()


async def test_what_is_written_is_sent_at_once():
    async with raw_server(saying(whole(b"ok"))) as server:
        reached = await dialing._connected(["127.0.0.1"], server.port)
        assert reached.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        reached.close()


def _full_queue(host, port):
    """A listener that takes no more connections."""
    waiting = [socket.create_server((host, port), backlog=0), *[socket.socket() for _ in range(4)]]
    for one in waiting[1:]:
        one.setblocking(False)
        one.connect_ex((host, port))
    return waiting


# Too much at once


async def test_a_reader_that_is_stuck_stops_the_sender(transport, wrapping):
    context, scheme, options = wrapping
    told, size = 0, 100_000_000

    async def answer(connection):
        nonlocal told
        await connection.request()
        await connection.say(events())
        while told < size:
            await connection.say(chunk(b"data: " + b"x" * 99_992 + b"\n\n"))
            told += 100_000
        await connection.say(chunk(b""))

    async with raw_server(answer, context) as server:
        url = server.url.replace("http:", scheme)
        async with transport.stream(post(url), options=options) as incoming:
            batches = incoming.frames(Framing.SSE)
            read = sum([len(frame.data) + 8 for frame in await anext(batches)])
            before = -1
            while told > before:
                before = told
                await asyncio.sleep(0.5)
            assert told < size / 2, "what the system itself holds"
            async for frames in batches:
                read += sum(len(frame.data) + 8 for frame in frames)
            assert read == size


async def test_silence_is_not_the_providers_while_nobody_reads(transport):
    async def answer(connection):
        await connection.request()
        await connection.say(events())
        for _ in range(200):
            await connection.say(chunk(b"data: " + b"x" * 99_992 + b"\n\n"))
        await connection.say(chunk(b""))

    limits = Timeouts(between=0.5)
    async with raw_server(answer) as server, transport.stream(post(server.url), timeouts=limits) as incoming:
        await asyncio.sleep(0.8)
        assert sum([len(frames) async for frames in incoming.frames(Framing.SSE)]) == 200


async def test_silence_after_a_pause_is_the_providers(transport):
    async def answer(connection):
        await connection.request()
        await connection.say(events(), *[chunk(b"data: " + b"x" * 99_992 + b"\n\n")] * 5)
        await connection.hang()

    limits = Timeouts(between=0.2)
    async with raw_server(answer) as server, transport.stream(post(server.url), timeouts=limits) as incoming:
        await asyncio.sleep(0.6)
        with pytest.raises(TimedOut, match="silent"):
            async for _ in incoming.frames(Framing.SSE):
                pass


@pytest.mark.parametrize("slowly", [False, True])
async def test_a_large_request_arrives_as_it_was(transport, wrapping, slowly):
    context, scheme, options = wrapping
    body = bytes(range(256)) * 80_000

    async def answer(connection):
        head = await connection.reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % len(body) in head
        if slowly:
            connection.writer.transport.pause_reading()
            await asyncio.sleep(0.3)
            connection.writer.transport.resume_reading()
        told = await connection.reader.readexactly(len(body))
        await connection.say(whole(hashlib.sha256(told).hexdigest().encode()))
        await connection.request()
        await connection.say(whole(b"again"))

    async with raw_server(answer, context) as server:
        url = server.url.replace("http:", scheme)
        sent = await transport.send(Outgoing("POST", url, {}, body), options=options)
        assert sent.body == hashlib.sha256(body).hexdigest().encode()
        assert (await transport.send(post(url), options=options)).body == b"again"


async def test_an_answer_before_the_request_was_read_is_an_answer(transport):
    """What is left of that request must not run into the next one."""

    async def answer(connection):
        await connection.reader.readuntil(b"\r\n\r\n")
        connection.writer.transport.pause_reading()
        await connection.say(whole(b"too large", status=b"413 Content Too Large"))
        await asyncio.sleep(0.1)
        connection.writer.transport.resume_reading()
        await connection.hang()

    async with raw_server(answer) as server:
        for calls in range(1, 3):
            outgoing = Outgoing("POST", server.url, {}, b"x" * 20_000_000)
            sent = await transport.send(outgoing, timeouts=Timeouts(first_byte=20))
            assert (sent.status, sent.body, server.connections) == (413, b"too large", calls)


# What requests say


async def test_a_request_says_what_it_must_and_no_more(transport):
    async with raw_server(repeating(whole(b"ok"))) as server:
        await transport.send(Outgoing("GET", server.url + "v1/a%2Fb?x=1&y=%20", {"X-One": "1"}))
        await transport.send(Outgoing("POST", server.url, {"user-agent": "mine"}))
        host = b"Host: 127.0.0.1:%d\r\n" % server.port
        ours = b"Accept: */*\r\nAccept-Encoding: identity\r\n"
        assert bytes(server.received) == (
            b"GET /v1/a%2Fb?x=1&y=%20 HTTP/1.1\r\n" + host + b"User-Agent: llm-mesh\r\n" + ours + b"X-One: 1\r\n\r\n"
            b"POST / HTTP/1.1\r\n" + host + ours + b"user-agent: mine\r\nContent-Length: 0\r\n\r\n"
        )
