"""U, L: providers that hang, fail and flood, and more clients than there is room for. Played by `make chaos`."""

import socket
import time
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway import breaker, retries
from gateway.models import Usage
from tests.chaos.invariants import CALL_ID, check_books, check_nothing_open
from tests.chaos.load import CHAT, Kind, Load, Seen, in_background, treated
from tests.chaos.site import Site, wait_for
from tests.chaos.verdicts import Verdict
from tests.mesh import Client
from tests.upstream.faults import Fault
from tests.upstream.server import Upstream

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]


def connected(site: Site, **options) -> str:
    """The public id of a model at a connection of its own, with a breaker of its own."""
    name = f"own-{time.monotonic_ns()}"
    site.connect(name, **options)
    return f"{name}/local-chat"


def asked(upstream: Upstream) -> int:
    return sum(CALL_ID in request.headers for request in upstream.requests)


def memory(site: Site, figure: str = "VmRSS") -> list[int]:
    """MiB of each web process."""
    said = [Path(f"/proc/{site.webs[door.port].pid}/status").read_text() for door in site.doors]
    return [int(text.partition(f"{figure}:")[2].split()[0]) // 1024 for text in said]


def most_memory(site: Site) -> list[int]:
    """MiB that each web process has had at the most."""
    return memory(site, "VmHWM")


def test_providers_that_hang(site: Site, upstream: Upstream, verdict: Verdict):
    """U1: no first byte, silence within a stream, a line that is stalled"""
    kinds = {
        "silent": Kind([Fault.silence()], stream=False),
        "silent stream": Kind([Fault.silence()], stream=True),
        "stalls": Kind([Fault.stalls(3, chunks=9)], stream=True),
    }
    upstream.always(treated(kinds))
    for door in site.doors:
        door.patience = 120
    seen = Load(verdict.seed, kinds, [connected(site, retries=0)]).run(site.doors, 60, clients=60)
    verdict.count(told=dict(Counter((one.kind, one.status, one.code) for one in seen)))
    bounds = {"silent": 60, "silent stream": 60, "stalls": 30}
    longest = {name: max(one.seconds for one in seen if one.kind == name) for name in kinds}
    verdict.count(calls=len(seen), **{name: f"{seconds:.1f} s" for name, seconds in longest.items()})
    for name, seconds in longest.items():
        verdict.check(seconds <= bounds[name] + 2, f"{name} is over after {bounds[name]} s: {seconds:.1f} s")
    site.upstream_proxy.stall()
    [stalled] = Load(verdict.seed, {"stalled": Kind([Fault.answer()])}, [connected(site, retries=0)]).run(site.doors, 1)
    site.upstream_proxy.cut()
    [cut] = Load(verdict.seed, {"cut": Kind([Fault.answer()])}, [connected(site, retries=2)]).run(site.doors, 1)
    verdict.count(stalled=f"{stalled.status} {stalled.seconds:.1f} s", cut=f"{cut.status} {cut.seconds:.1f} s")
    verdict.check(stalled.status == 504 and stalled.seconds <= 62, f"a stalled line times out: {stalled}")
    verdict.check(cut.status == 503 and cut.seconds <= 10, f"a line that is cut is told at once: {cut}")
    check_books(verdict, upstream)


def test_a_failing_provider_is_spared(site: Site, upstream: Upstream, verdict: Verdict):
    """U2 U3: a sixth of all calls fail, then all"""
    some = {"fine": Kind([Fault.answer()], 5), "fails": Kind([Fault.status(503)])}
    upstream.always(treated(some))
    partly = Load(verdict.seed, some, [connected(site) for _ in range(4)]).run(site.doors, 2000, rate=60)
    made = len({request.headers[CALL_ID] for request in upstream.requests if CALL_ID in request.headers})
    ratio = asked(upstream) / made
    reserve = retries.RESERVE * 4 * len(site.doors)
    verdict.count(calls=len(partly), made=made, attempts=asked(upstream), ratio=f"{ratio:.3f}")
    verdict.check(asked(upstream) <= 1.2 * made + reserve, f"retries are a fifth at the most: {ratio:.3f}")

    all_of_them = {"fails": Kind([Fault.status(503)])}
    upstream.always(treated(all_of_them))
    before, sick, well = asked(upstream), connected(site), connected(site)
    failing = Load(verdict.seed, all_of_them, [sick]).run(site.doors, 500, rate=100)
    tried = asked(upstream) - before
    verdict.count(failing=len(failing), attempts_at_the_sick=tried)
    verdict.check(tried <= (breaker.IN_A_ROW + 16) * len(site.doors), f"it is left alone: {tried} attempts")
    upstream.always(None)
    [other] = Load(verdict.seed, all_of_them, [well]).run(site.doors, 1)
    verdict.check(other.status == 200, f"another model is not touched: {other.status}")
    back = wait_for(lambda: all(_ask(site, sick, number).fine for number in range(2)), 120, "the sick model's return")
    verdict.count(back_after=f"{back:.0f} s")
    check_books(verdict, upstream)


def _ask(site: Site, model: str, number: int) -> Seen:
    """Through the door of this number."""
    return Load(number, {"again": Kind([Fault.answer()])}, [model]).run([site.doors[number]], 1)[0]


def test_providers_that_flood(site: Site, upstream: Upstream, verdict: Verdict):
    """U4: answers without end"""
    kinds = {
        "a body of 1 GB": Kind([Fault.huge_body()], stream=False),
        "a bomb": Kind([Fault.gzip_bomb()], stream=False),
        "a header of 1 MB": Kind([Fault.huge_header()], stream=False),
        "an event of 50 MB": Kind([Fault.huge_event()], stream=True),
        "a login page": Kind([Fault.html()]),
        "nothing": Kind([Fault.empty()], stream=False),
    }
    upstream.always(treated(kinds))
    models = [connected(site, retries=0, models={f"m{n}": "chat" for n in range(20)}) for _ in range(3)]
    models = [model.replace("local-chat", f"m{number}") for model in models for number in range(20)]
    idle, clients = memory(site), 6
    seen = Load(verdict.seed, kinds, models).run(site.doors, 60, clients=clients)
    before = memory(site)
    seen += Load(verdict.seed + 1, kinds, models).run(site.doors, 120, clients=clients)
    after = memory(site)
    codes = Counter(one.code for one in seen)
    grown = max(now - then for now, then in zip(after, before, strict=True))
    peak = max(most - then for most, then in zip(most_memory(site), idle, strict=True))
    verdict.count(
        calls=len(seen), codes=dict(codes), idle=f"{max(idle)} MiB", after=f"{max(after)} MiB", grown=grown, peak=peak
    )
    verdict.check(set(codes) <= {"upstream_invalid_response", "upstream_unavailable"}, f"told as such: {codes}")
    verdict.check(codes["upstream_invalid_response"] > 60, f"each is noticed: {codes}")
    verdict.check(grown <= 150, f"memory is given back: {before} → {after} MiB")
    verdict.check(peak <= clients * 32 + 150, f"{clients} answers of 32 MiB are held at the most: {peak} MiB")


def test_five_times_too_much(site: Site, upstream: Upstream, verdict: Verdict):
    """L2: five times more calls at once than there is room for"""
    room, delay = 40, 0.5
    kinds = {"fine": Kind([Fault.answer(delay=delay)], stream=False)}
    upstream.always(treated(kinds))
    model = connected(site)
    door = Client(site.start_web(MESH_MAX_CALLS=str(room)), site.key)
    normal = Load(verdict.seed, kinds, [model]).run([door], 400, clients=room)
    pulse: list[float] = []
    watching = in_background(lambda: pulse.extend(_pulse(door, 40)))
    seen = Load(verdict.seed, kinds, [model]).run([door], 4000, clients=room * 5)
    watching.join()
    refused = sorted(one.seconds for one in seen if one.status == 503)
    accepted = sorted(one.seconds for one in seen if one.fine)
    usual = sorted(one.seconds for one in normal if one.fine)
    inside = most_within(delay, upstream)
    verdict.count(
        accepted=len(accepted), refused=len(refused), inside=inside,
        usual_p99=f"{_p99(usual):.2f} s", p99=f"{_p99(accepted):.2f} s",
        refused_within=f"{1000 * _p99(refused):.0f} ms", health_within=f"{1000 * max(pulse):.0f} ms",
    )  # fmt: skip
    verdict.check(len(usual) == len(normal), "all that fit in are answered")
    verdict.check(len(accepted) + len(refused) == len(seen), "the others are refused")
    verdict.check(inside <= room, f"never more are let in than there is room for: {inside} at once")
    verdict.check(_p99(accepted) <= 2 * _p99(usual), "those let in are answered as usual")
    verdict.check(max(pulse) <= 1, f"its health is told meanwhile: {max(pulse):.2f} s")
    site.kill(site.webs[door.port])
    check_books(verdict, upstream)


def most_within(seconds: float, upstream: Upstream) -> int:
    """How many calls the provider got within so short a time at the most: so many were under way at once."""
    times = sorted(request.arrived_at for request in upstream.requests if CALL_ID in request.headers)
    return max(number - bisect_left(times, at - seconds) for number, at in enumerate(times, 1))


def _pulse(door: Client, count: int) -> list[float]:
    found = []
    for _ in range(count):
        started = time.monotonic()
        assert door.get("/healthz").status == 200
        found.append(time.monotonic() - started)
        time.sleep(0.05)
    return found


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100] if seconds else 0.0


def test_clients_that_hardly_read(site: Site, upstream: Upstream, verdict: Verdict):
    """L4: clients that read a byte per second, then nothing"""
    count = 500
    upstream.always(Fault("endless", endless))
    model = connected(site, retries=0)
    before = memory(site)
    lines = [_slow_line(site.doors[number % 2], model) for number in range(count)]
    started = time.monotonic()
    while time.monotonic() - started < 10:
        for line in lines:
            line.recv(1)
        time.sleep(1)
    grown = max(now - then for now, then in zip(memory(site), before, strict=True))
    sent = [request.bytes_sent for request in upstream.requests if CALL_ID in request.headers]
    upstream.always(None)
    [quick] = Load(verdict.seed, {"fine": Kind([Fault.answer()])}, [model]).run(site.doors, 1)
    cut = wait_for(lambda: _rows(model) >= count, 120, "the end of all slow calls")
    verdict.count(
        clients=count, grown=f"{grown} MiB", most_sent=f"{max(sent, default=0) >> 10} KiB",
        others=f"{quick.status} {quick.seconds:.2f} s", cut_after=f"{cut + 10:.0f} s",
    )  # fmt: skip
    verdict.check(len(sent) >= count, f"all of them are being answered: {len(sent)}")
    verdict.check(grown <= count * 256 / 1024 + 150, f"a stream holds 256 KiB at the most: {grown} MiB for {count}")
    verdict.check(quick.status == 200, "others are served meanwhile")
    for line in lines:
        line.close()
    check_books(verdict, upstream)
    check_nothing_open(verdict, site.socket)


async def endless(exchange: Any) -> None:
    """A stream that goes on for as long as somebody takes it."""
    exchange.plan.text = "x" * 16_000
    stream = await exchange.stream_head()
    first, word, *_ = stream.events
    await exchange.events(stream, [first])
    while True:
        await exchange.events(stream, [word])


def _slow_line(door: Client, model: str) -> socket.socket:
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(30)
    line.connect(("127.0.0.1", door.port))
    body = b'{"model": "%s", "stream": true, "messages": [{"role": "user", "content": "slow"}]}' % model.encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: mesh\r\nAuthorization: Bearer {door.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    line.sendall(head.encode() + body)
    return line


def _rows(model: str) -> int:
    return Usage.objects.filter(model=model).count()
