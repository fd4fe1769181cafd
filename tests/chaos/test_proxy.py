"""The fault proxy does what it says; nothing learnt behind it means anything otherwise."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.chaos.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    line, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=_echo, args=(line,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()


def _echo(line: socket.socket) -> None:
    with suppress(OSError), line:
        while piece := line.recv(65536):
            line.sendall(piece)


@pytest.fixture
def proxy(echo) -> Iterator[Proxy]:
    running = Proxy(echo)
    yield running
    running.stop()


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=0.5)


def said(line: socket.socket, data: bytes) -> bytes:
    """What comes back of `data`, until nothing more comes for half a second."""
    line.sendall(data)
    back = b""
    with suppress(TimeoutError):
        while len(back) < len(data) and (piece := line.recv(65536)):
            back += piece
    return back


def test_bytes_pass_whole(proxy):
    with connected(proxy) as line:
        line.settimeout(20)
        for number in range(10):  # never more than the kernels' buffers hold while nobody reads
            assert said(line, b"%d" % number * 100_000) == b"%d" % number * 100_000


def test_a_delay_is_there_and_back(proxy):
    proxy.delay(0.1)
    with connected(proxy) as line:
        started = time.monotonic()
        assert said(line, b"hello") == b"hello"
        assert time.monotonic() - started >= 0.2


def test_slowness_passes_so_many_bytes(proxy):
    proxy.slow(100)
    with connected(proxy) as line:
        started = time.monotonic()
        assert said(line, b"x" * 60) == b"x" * 60
        assert time.monotonic() - started >= 0.4


def test_a_stall_holds_everything_back_until_it_is_healed(proxy):
    with connected(proxy) as line:
        proxy.stall()
        assert said(line, b"held") == b""
        with connected(proxy) as later:
            assert said(later, b"held too") == b""
            proxy.heal()
            assert later.recv(100) == b"held too"
        assert line.recv(100) == b"held"


@pytest.mark.parametrize("way", ["there", "back"])
def test_what_goes_one_way_is_lost(proxy, way):
    with connected(proxy) as line:
        proxy.lose(way)
        assert said(line, b"lost") == b""
        proxy.heal()
        assert said(line, b"found") == b"found"


def test_a_reset_cuts_what_is_there_and_takes_what_comes(proxy):
    with connected(proxy) as line:
        assert said(line, b"one") == b"one"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            line.recv(100)
    with connected(proxy) as line:
        assert said(line, b"two") == b"two"


def test_a_cut_refuses_until_it_is_healed(proxy):
    with connected(proxy) as line:
        assert said(line, b"one") == b"one"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            line.recv(100)
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    proxy.heal()
    with connected(proxy) as line:
        assert said(line, b"two") == b"two"


def test_an_end_passes_both_ways(proxy):
    with connected(proxy) as line:
        assert said(line, b"one") == b"one"
        line.shutdown(socket.SHUT_WR)
        assert line.recv(100) == b""
    until = time.monotonic() + 5
    while proxy.open_lines and time.monotonic() < until:
        time.sleep(0.01)
    assert proxy.open_lines == 0
