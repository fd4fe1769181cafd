"""The guarded client against real servers on loopback that misbehave in every way we know."""

import asyncio
import datetime
import gzip
import ipaddress
import resource
import socket
import ssl
import time
import zlib

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connections.providers.calls import Framing, Outgoing
from connections.providers.errors import AddressRefused, BadReply, KeyRefused, TimedOut, TLSFailed, Unreachable
from connections.transport import MAX_BODY, NetworkOptions, Timeouts, Transport
from tests.upstream.raw import chunk, events, raw_server, whole

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")
QUICK = Timeouts(connect=0.5, first_byte=0.3, between=0.3, total=10)
"""Not more than `total` is ever waited, so what ends sooner ended for another reason."""


def post(url: str, **headers: str) -> Outgoing:
    return Outgoing("POST", url, {"Content-Type": "application/json", **headers}, b"{}")


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request):
    """Workers run on the one, the web process on the other."""
    return request.param()


@pytest.fixture
async def transport():
    async with Transport() as transport:
        yield transport


def saying(*pieces: bytes):
    """A server that reads a request, says this and closes."""

    async def answer(connection):
        await connection.request()
        await connection.say(*pieces)

    return answer


async def frames_of(transport, url, **options):
    """All the data of a stream's frames, however they were grouped."""
    found = []
    async with transport.stream(post(url), **options) as incoming:
        async for frames in incoming.frames(Framing.SSE):
            found += [frame.data for frame in frames]
    return found


# What works


async def test_a_whole_answer(transport):
    async with raw_server(saying(whole(b'{"ok": 1}', b"X-Request-Id: 7", status=b"404 Not Found"))) as server:
        answer = await transport.send(post(server.url + "v1/chat", Authorization="Bearer abc"))

    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (404, b'{"ok": 1}', "7")
    head = bytes(server.received)
    assert head.startswith(b"POST /v1/chat HTTP/1.1\r\n")
    assert b"Authorization: Bearer abc\r\n" in head
    assert b"Accept-Encoding: identity\r\n" in head
    assert b"cookie" not in head.lower()
    assert head.endswith(b"\r\n\r\n{}")


async def test_frames_of_one_read_come_together(transport):
    body = events() + chunk(b"data: 1\n\ndata: 2\n\n") + chunk(b"data: 3\n\n") + chunk(b"")
    async with raw_server(saying(body)) as server, transport.stream(post(server.url)) as incoming:
        groups = [frames async for frames in incoming.frames(Framing.SSE)]

    assert [frame.data for frames in groups for frame in frames] == [b"1", b"2", b"3"]
    assert len(groups) == 1


async def test_an_event_split_inside_a_character_is_whole_again(transport):
    text = "data: héllo €\n\n".encode()
    pieces = [chunk(text[i : i + 1]) for i in range(len(text))]
    async with raw_server(saying(events(), *pieces, chunk(b""))) as server:
        assert await frames_of(transport, server.url) == ["héllo €".encode()]


async def test_a_connection_is_used_again(transport):
    async def answer(connection):
        while True:
            await connection.request()
            await connection.say(whole(b"ok"))

    async with raw_server(answer) as server:
        for _ in range(3):
            await transport.send(post(server.url))
        assert server.connections == 1


async def test_a_hundred_and_fifty_calls_run_at_once(transport):
    together = asyncio.Barrier(150)

    async def answer(connection):
        await connection.request()
        await together.wait()
        await connection.say(whole(b"ok"))

    async with raw_server(answer) as server:
        answers = await asyncio.gather(*[transport.send(post(server.url)) for _ in range(150)])
    assert {answer.body for answer in answers} == {b"ok"}


async def test_cookies_are_forgotten(transport):
    async def answer(connection):
        while True:
            await connection.request()
            await connection.say(whole(b"ok", b"Set-Cookie: session=1"))

    async with raw_server(answer) as server:
        await transport.send(post(server.url))
        await transport.send(post(server.url))
        assert b"session=1" not in server.received


async def test_proxy_variables_are_not_honoured(transport, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with raw_server(saying(whole(b"ok"))) as server:
        assert (await transport.send(post(server.url))).body == b"ok"


# Connections kept too long


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_a_kept_connection_that_died_is_replaced_once(transport, ending):
    async def answer(connection):
        await connection.request()
        await connection.say(whole(b"first" if connection.server.connections == 1 else b"second"))
        if connection.server.connections == 1:
            await connection.request()
            if ending == "reset":
                connection.reset()

    async with raw_server(answer) as server:
        assert (await transport.send(post(server.url))).body == b"first"
        assert (await transport.send(post(server.url))).body == b"second"
        assert server.connections == 2


async def test_a_fresh_connection_is_not_tried_again(transport):
    async with raw_server(saying()) as server:
        with pytest.raises(Unreachable, match="without an answer"):
            await transport.send(Outgoing("GET", server.url))
        assert server.connections == 1


async def test_a_kept_connection_is_not_tried_again_once_it_spoke(transport):
    async def answer(connection):
        await connection.request()
        await connection.say(whole(b"first"))
        await connection.request()
        await connection.say(b"HTTP/1.1 200 OK\r\nContent-")

    async with raw_server(answer) as server:
        await transport.send(post(server.url))
        with pytest.raises(Unreachable):
            await transport.send(post(server.url))
        assert server.connections == 1


# Addresses


async def test_a_closed_port(transport):
    async with raw_server(saying()) as server:
        port = server.port
    with pytest.raises(Unreachable, match="refuses"):
        await transport.send(post(f"http://127.0.0.1:{port}/"))


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary", b"308 Permanent"])
async def test_a_redirect_is_an_answer_and_nothing_reaches_its_target(transport, status):
    async with raw_server(saying(whole(b"secret"))) as target:
        location = b"Location: " + target.url.encode()
        async with raw_server(saying(whole(b"", location, status=status))) as server:
            answer = await transport.send(post(server.url, Authorization="Bearer abc"))
        assert answer.status == int(status[:3])
        assert target.connections == 0


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "https://10.0.0.1/", "https://[::ffff:10.0.0.1]/"])
async def test_a_forbidden_literal_is_refused_before_connecting(transport, url):
    for attempt in (transport.send(post(url)), transport.probe(url)):
        with pytest.raises(AddressRefused):
            await attempt


async def test_a_name_that_changes_between_check_and_connect(settings):
    """The address that was checked is the one connected to, at every new connection."""
    settings.PRIVATE_ADDRESSES = ["models.example"]
    answers = [["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "169.254.169.254"]]

    async def lookup(host, port):
        return answers.pop(0)

    async with raw_server(saying(whole(b"ok"))) as server, Transport(lookup) as transport:
        url = f"http://models.example:{server.port}/"
        assert (await transport.probe(url)).address == "127.0.0.1"
        for _ in range(2):
            with pytest.raises(AddressRefused):
                await transport.send(post(url))
        assert not server.received


async def test_a_name_that_resolves_to_this_machine_is_refused(settings):
    settings.PRIVATE_ADDRESSES = []

    async def lookup(host, port):
        return ["127.0.0.1"]

    async with raw_server(saying(whole(b"ok"))) as server, Transport(lookup) as transport:
        for attempt in (transport.send, transport.probe):
            url = f"https://models.example:{server.port}/"
            with pytest.raises(AddressRefused):
                await attempt(url if attempt == transport.probe else post(url))
        assert server.connections == 0


async def test_a_name_nobody_knows(settings):
    settings.PRIVATE_ADDRESSES = ["models.invalid"]
    async with Transport() as transport:
        for attempt in (transport.send(post("http://models.invalid/")), transport.probe("http://models.invalid/")):
            with pytest.raises(Unreachable, match="not known"):
                await attempt


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer a\r\nX-Evil: 1"},
        {"Authorization": "Bearer a\n"},
        {"Authorization": "Bearer 🔑"},
        {"X-Custom": "nul\0"},
        {"Host": "evil.test"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"two words": "x"},
        {"X-Evil:": "x"},
        {"": "x"},
    ],
)
async def test_a_header_that_could_smuggle_is_refused_and_not_shown(transport, headers):
    async with raw_server(saying(whole(b"ok"))) as server:
        with pytest.raises(KeyRefused) as caught:
            await transport.send(post(server.url, **headers))
        assert server.connections == 0
    assert "Bearer" not in str(caught.value)


# Silence and slowness


async def timed(attempt) -> float:
    started = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        await attempt
    assert "127.0.0.1" not in str(caught.value)
    return time.monotonic() - started


async def test_a_server_that_accepts_and_never_answers(transport):
    async def answer(connection):
        await connection.hang()

    async with raw_server(answer) as server:
        assert 0.25 < await timed(transport.send(post(server.url), timeouts=QUICK)) < 8
        await asyncio.wait_for(server.closed.wait(), 20)


async def test_headers_that_come_byte_by_byte(transport):
    async def answer(connection):
        await connection.request()
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
            await connection.say(bytes([byte]))
            await asyncio.sleep(0.05)

    async with raw_server(answer) as server:
        assert 0.25 < await timed(transport.send(post(server.url), timeouts=QUICK)) < 8


async def test_a_server_that_does_not_read_is_left_at_once(transport):
    """What is still unsent by then is not sent later."""

    async def answer(connection):
        connection.writer.transport.pause_reading()
        await asyncio.sleep(0.6)
        connection.writer.transport.resume_reading()
        while piece := await connection.reader.read(1_000_000):
            connection.server.received += piece

    async with raw_server(answer) as server:
        outgoing = Outgoing("POST", server.url, {}, b"x" * 20_000_000)
        assert 0.25 < await timed(transport.send(outgoing, timeouts=QUICK)) < 8
        await asyncio.wait_for(server.closed.wait(), 20)
        assert len(server.received) < 20_000_000


async def test_silence_within_a_stream(transport):
    async def answer(connection):
        await connection.request()
        await connection.say(events(), chunk(b"data: 1\n\n"))
        await connection.hang()

    async with raw_server(answer) as server:
        assert 0.25 < await timed(frames_of(transport, server.url, timeouts=QUICK)) < 8


async def test_comments_are_a_sign_of_life_but_the_deadline_holds(transport):
    async def answer(connection):
        await connection.request()
        await connection.say(events())
        while True:
            await connection.say(chunk(b": still here\n\n"))
            await asyncio.sleep(0.05)

    limits = QUICK._replace(total=0.8)
    async with raw_server(answer) as server:
        assert 0.7 < await timed(frames_of(transport, server.url, timeouts=limits)) < 8


@pytest.mark.parametrize("said", [b"", events()], ids=["nothing", "headers"])
async def test_the_deadline_holds_where_more_patience_was_left(transport, said):
    async def answer(connection):
        await connection.request()
        await connection.say(said)
        await connection.hang()

    limits = Timeouts(total=0.5)
    async with raw_server(answer) as server:
        assert 0.4 < await timed(frames_of(transport, server.url, timeouts=limits)) < 8


async def test_a_flood_does_not_outrun_the_deadline(transport):
    """Also where the caller is so slow that there is always something left to read."""

    async def answer(connection):
        await connection.request()
        await connection.say(events())
        while True:
            await connection.say(chunk(b"data: 1\n\n") * 1000)

    async def read_slowly(url):
        async with transport.stream(post(url), timeouts=QUICK._replace(total=0.5)) as incoming:
            async for _ in incoming.frames(Framing.SSE):
                await asyncio.sleep(0.02)

    async with raw_server(answer) as server:
        assert 0.4 < await timed(read_slowly(server.url)) < 8


async def test_connecting_takes_too_long(transport):
    """A listener whose queue is full takes no more connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        await asyncio.sleep(0.05)
        for attempt in (
            transport.send(post(f"http://127.0.0.1:{port}/"), timeouts=QUICK._replace(first_byte=10)),
            transport.probe(f"http://127.0.0.1:{port}/", timeouts=QUICK),
        ):
            assert 0.4 < await timed(attempt) < 8
        for one in waiting:
            one.close()


# Leaving


async def test_leaving_a_stream_closes_it_at_once(transport):
    async def answer(connection):
        await connection.request()
        await connection.say(events(), chunk(b"data: 1\n\n"))
        await connection.hang()

    async with raw_server(answer) as server:
        async with transport.stream(post(server.url)) as incoming:
            async for _ in incoming.frames(Framing.SSE):
                break
        await asyncio.wait_for(server.closed.wait(), 20)


@pytest.mark.parametrize("started", [False, True])
async def test_cancelling_passes_through_and_closes(transport, started):
    async def answer(connection):
        await connection.request()
        await connection.say(*([events()] if started else []))
        await connection.hang()

    async with raw_server(answer) as server:
        task = asyncio.create_task(frames_of(transport, server.url))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.closed.wait(), 20)


# Answers that lie


LIES = {
    "no HTTP at all": b"SSH-2.0-OpenSSH_9.2\r\n",
    "two lengths": whole(b"ok", b"Content-Length: 3"),
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a header of 1 MB": whole(b"ok", b"X-Long: " + b"x" * 1_000_000),
    "headers of 1 MB together": whole(b"ok", *[b"X-%d: %b" % (i, b"x" * 10_000) for i in range(100)]),
    "70 KB of headers": whole(b"ok", *[b"X-%d: %b" % (i, b"x" * 10_000) for i in range(7)]),
    "10,000 headers": whole(b"ok", *[b"X-%d: x" % i for i in range(10_000)]),
    "a length beyond the body": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort",
    "gzip that is none": whole(b"{}", b"Content-Encoding: gzip"),
    "gzip cut in half": whole(gzip.compress(b"{}" * 1000)[:-12], b"Content-Encoding: gzip"),
    "gzip that goes on": whole(gzip.compress(b"{}") + b"more", b"Content-Encoding: gzip"),
    "an encoding nobody asked for": whole(b"{}", b"Content-Encoding: br"),
    "two encodings": whole(b"{}", b"Content-Encoding: gzip, gzip"),
}


@pytest.mark.parametrize("said", LIES.values(), ids=LIES.keys())
async def test_an_answer_that_lies_is_a_bad_reply(transport, said):
    async with raw_server(saying(said)) as server:
        with pytest.raises(BadReply) as caught:
            await transport.send(post(server.url))
    assert "127.0.0.1" not in str(caught.value)


async def test_a_refused_answer_is_not_waited_for(transport):
    async def answer(connection):
        await connection.request()
        await connection.say(events(b"Content-Encoding: br"))
        await connection.hang()

    async with raw_server(answer) as server:
        with pytest.raises(BadReply) as caught:
            await transport.send(post(server.url))
        await asyncio.wait_for(server.closed.wait(), 20)
        assert "compressed" in str(caught.value)


async def test_a_long_header_is_no_lie(transport):
    async with raw_server(saying(whole(b"ok", b"X-Policy: " + b"x" * 12_000))) as server:
        assert len((await transport.send(post(server.url))).headers["x-policy"]) == 12_000


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (b"gzip", gzip.compress(b'{"ok": 1}' * 100_000)),
        (b"deflate", zlib.compress(b'{"ok": 1}' * 100_000)),
        (b"deflate", zlib.compress(b'{"ok": 1}' * 100_000, wbits=-15)),
        (b"identity", b'{"ok": 1}' * 100_000),
        (b"gzip", b""),
    ],
)
async def test_compressed_answers_are_unpacked(transport, encoding, packed):
    async with raw_server(saying(whole(packed, b"Content-Encoding: " + encoding))) as server:
        answer = await transport.send(post(server.url))
    assert answer.body == (b'{"ok": 1}' * 100_000 if packed else b"")


async def test_what_a_full_step_held_back_is_not_lost(transport):
    """The input may be used up while there is still output to give."""
    body = bytes(256 * 1024 + 21)
    packed = zlib.compress(body, 9, wbits=-15)
    async with raw_server(saying(whole(packed, b"Content-Encoding: deflate"))) as server:
        assert (await transport.send(post(server.url))).body == body


async def test_a_compressed_stream_comes_piece_by_piece(transport):
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(b"data: %d\n\n" % i) + packer.flush(zlib.Z_SYNC_FLUSH) for i in range(3)]
    said = [events(b"Content-Encoding: gzip"), *map(chunk, pieces), chunk(packer.flush()), chunk(b"")]
    async with raw_server(saying(*said)) as server:
        assert await frames_of(transport, server.url) == [b"0", b"1", b"2"]


async def test_a_bomb_stops_at_the_cap(transport):
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(1024)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with raw_server(saying(whole(bomb, b"Content-Encoding: gzip"))) as server:
        with pytest.raises(BadReply, match="32 MiB"):
            await transport.send(post(server.url))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


async def test_a_body_of_a_gigabyte_is_cut_at_the_cap(transport):
    told = 0

    async def answer(connection):
        nonlocal told
        await connection.request()
        await connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while told < 1_000_000_000:
            await connection.say(bytes(1_000_000))
            told += 1_000_000

    async with raw_server(answer) as server:
        with pytest.raises(BadReply, match="32 MiB"):
            await transport.send(post(server.url))
        await asyncio.wait_for(server.closed.wait(), 20)
    assert told < 2 * MAX_BODY


async def test_an_event_without_end_is_cut(transport):
    async def answer(connection):
        await connection.request()
        await connection.say(events(), chunk(b"data: "))
        for _ in range(50):
            await connection.say(chunk(b"x" * 1_000_000))

    async with raw_server(answer) as server:
        with pytest.raises(BadReply, match="1 MiB"):
            await frames_of(transport, server.url)
        await asyncio.wait_for(server.closed.wait(), 20)


@pytest.mark.parametrize("length", [b"Content-Length: 500", b"Transfer-Encoding: chunked"])
async def test_a_reset_after_the_headers(transport, length):
    async def answer(connection):
        await connection.request()
        await connection.say(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n")
        await asyncio.sleep(0.05)
        connection.reset()

    async with raw_server(answer) as server:
        with pytest.raises(Unreachable, match="cut off"):
            await transport.send(post(server.url))


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_stream_cut_within_an_event_keeps_what_came(transport, how):
    async def answer(connection):
        await connection.request()
        await connection.say(events(), chunk(b"data: 1\n\ndata: 2"))
        await asyncio.sleep(0.05)
        if how == "reset":
            connection.reset()

    found = []
    async with raw_server(answer) as server, transport.stream(post(server.url)) as incoming:
        with pytest.raises(Unreachable, match="cut off"):
            async for frames in incoming.frames(Framing.SSE):
                found += [frame.data for frame in frames]
    assert found == [b"1"]


# TLS


class Authority:
    """A certificate authority for one test."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
        self.certificate = self._signed(self.name, self.key.public_key(), days=30, authority=True)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _signed(self, subject, public_key, *, days, authority=False, host=None):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public_key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=60))
        builder = builder.not_valid_after(now + datetime.timedelta(days=days))
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, folder, *, days=30, host="127.0.0.1") -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
        certificate = self._signed(name, key.public_key(), days=days, host=_general_name(host))
        return _server_context(folder, certificate, key)

    def itself(self, folder) -> ssl.SSLContext:
        return _server_context(folder, self.certificate, self.key)


def _general_name(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _server_context(folder, certificate, key) -> ssl.SSLContext:
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture(scope="module")
def authority():
    return Authority()


async def both_ways(transport, url, **options):
    """What a call and a probe end with."""
    with pytest.raises(TLSFailed) as call:
        await transport.send(post(url), **options)
    with pytest.raises(TLSFailed) as probe:
        await transport.probe(url, **options)
    return [str(call.value), str(probe.value)]


async def test_a_private_authority_is_trusted_where_it_is_named(transport, authority, tmp_path):
    options = NetworkOptions(authority.pem)
    async with raw_server(saying(whole(b"ok")), authority.server(tmp_path)) as server:
        url = server.url.replace("http:", "https:")
        assert (await transport.send(post(url), options=options)).body == b"ok"
        probe = await transport.probe(url, options=options)
        assert probe.address == "127.0.0.1"
        assert min(probe.dns_ms, probe.connect_ms, probe.tls_ms) >= 0
        assert all("unknown authority" in problem for problem in await both_ways(transport, url))


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"days": -1}, "expired"), ({"host": "other.example"}, "another host"), ({"host": "10.0.0.1"}, "another host")],
)
async def test_a_certificate_that_does_not_fit(transport, authority, tmp_path, fault, words):
    async with raw_server(saying(whole(b"ok")), authority.server(tmp_path, **fault)) as server:
        url = server.url.replace("http:", "https:")
        problems = await both_ways(transport, url, options=NetworkOptions(authority.pem))
        assert all(words in problem for problem in problems)
        assert not server.received


async def test_a_self_signed_certificate(transport, authority, tmp_path):
    async with raw_server(saying(whole(b"ok")), authority.itself(tmp_path)) as server:
        problems = await both_ways(transport, server.url.replace("http:", "https:"))
        assert all("self-signed" in problem for problem in problems)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_tls_1_0_is_too_old(transport, authority, tmp_path):
    old = authority.server(tmp_path)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with raw_server(saying(whole(b"ok")), old) as server:
        url = server.url.replace("http:", "https:")
        problems = await both_ways(transport, url, options=NetworkOptions(authority.pem))
        assert all("TLS 1.2" in problem for problem in problems)


@pytest.mark.parametrize("how", ["close", "reset", "plain"])
async def test_a_handshake_that_fails(transport, how):
    async def answer(connection):
        await connection.reader.read(5)
        if how == "plain":
            await connection.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        if how == "reset":
            connection.reset()

    async with raw_server(answer) as server:
        await both_ways(transport, server.url.replace("http:", "https:"))


@pytest.mark.parametrize("text", ["nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_an_authority_that_cannot_be_read(transport, text):
    problems = await both_ways(transport, "https://127.0.0.1:9999/", options=NetworkOptions(text))
    assert all("CA certificate" in problem for problem in problems)
