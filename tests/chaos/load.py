"""Clients of many calls at once, and what each of them saw."""

import http.client
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.mesh import Client
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
CUT = (OSError, http.client.HTTPException)
"""How an answer that does not come, or does not end, shows."""
DONE, ERROR = b"data: [DONE]\n\n", b"event: error\ndata: "


@dataclass
class Seen:
    """One call as its client saw it."""

    number: int
    kind: str
    door: int
    """The port."""
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    status: int = 0
    """0: no answer."""
    request_id: str = ""
    body: bytes = b""
    whole: bool = False
    """The answer came to its end, whatever it said."""
    left: bool = False
    """The client left on purpose."""

    @property
    def cut(self) -> bool:
        return not self.whole and not self.left

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def fine(self) -> bool:
        return self.status == 200 and self.whole and ERROR not in self.body

    @property
    def code(self) -> str:
        """Of the contract's error, for what was refused."""
        found = re.search(rb'"code": ?"(\w+)"', self.body)
        return found[1].decode() if found else ""


@dataclass(frozen=True)
class Kind:
    """What a call is like: how the provider treats its attempts, and when its client leaves."""

    faults: Sequence[Fault]
    """One for each attempt; the last one for all further ones."""
    share: int = 1
    stream: bool | None = None
    """None: now so, now so."""
    leaves_after: int | None = None
    """Events after which the client leaves; 0: before the answer begins."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What the request holds beside model and messages."""


def ask(door: Client, model: str, number: int, name: str, kind: Kind, stream: bool) -> Seen:
    """Make one call and read what comes."""
    seen = Seen(number, name, door.port)
    messages = [{"role": "user", "content": f"{name} {number}"}]
    body = {"model": model, "messages": messages, "stream": stream, **kind.fields}
    try:
        if kind.leaves_after == 0:
            _leave_early(door, body, seen)
        else:
            answer = door.open("POST", CHAT, body)
            with answer:
                _read(answer, seen, kind.leaves_after if stream else None)
    except CUT:
        pass
    seen.ended = time.monotonic()
    return seen


def _read(answer: http.client.HTTPResponse, seen: Seen, leaves_after: int | None) -> None:
    seen.status, seen.request_id = answer.status, answer.headers.get("x-request-id", "")
    events = 0
    while line := answer.readline():
        seen.body += line
        events += line.startswith(b"data:")
        if leaves_after is not None and events >= leaves_after:
            seen.left = True
            return
    streamed = answer.headers.get("content-type", "").startswith("text/event-stream")
    seen.whole = (seen.body.endswith(DONE) or ERROR in seen.body) if streamed else answer.length == 0


def _leave_early(door: Client, body: Any, seen: Seen) -> None:
    """Send the call and hang up while the provider is still silent."""
    line = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
    door.send(line, "POST", CHAT, body)
    time.sleep(0.1)
    seen.left = True
    line.close()


def treated(kinds: dict[str, Kind]) -> Fault:
    """A provider that treats each call as its kind says."""
    tries: Counter[str] = Counter()
    lock = threading.Lock()

    async def act(exchange: Any) -> None:
        mark = exchange.request.json["messages"][-1]["content"]
        kind = kinds.get(mark.rpartition(" ")[0])
        with lock:
            tries[mark] += 1
            number = tries[mark]
        fault = kind.faults[min(number, len(kind.faults)) - 1] if kind else Fault.answer()
        for name, value in fault.plan.items():
            setattr(exchange.plan, name, value)
        await fault.act(exchange)

    return Fault("as their kind", act)


class Load:
    """Calls of mixed kinds from several clients at once."""

    def __init__(self, seed: int, kinds: dict[str, Kind], models: Sequence[str]) -> None:
        self.kinds, self.models = kinds, models
        self._random = random.Random(seed)
        self.seen: list[Seen] = []

    def run(self, doors: Sequence[Client], count: int, clients: int = 16, rate: float = 0.0) -> list[Seen]:
        """`rate`: calls per second; 0: as fast as they are answered."""
        names = self._random.choices(list(self.kinds), [kind.share for kind in self.kinds.values()], k=count)
        streams = [self._random.random() < 0.5 for _ in names]
        started = time.monotonic()

        def one(number: int) -> Seen:
            if rate:
                time.sleep(max(0.0, started + number / rate - time.monotonic()))
            name = names[number]
            kind = self.kinds[name]
            stream = streams[number] if kind.stream is None else kind.stream
            model = self.models[number % len(self.models)]
            return ask(doors[number % len(doors)], model, number, name, kind, stream)

        with ThreadPoolExecutor(clients) as pool:
            self.seen = list(pool.map(one, range(count)))
        return self.seen


def in_background(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


class Rota:
    """A balancer as small as can be: in turn, whoever says that it is ready."""

    def __init__(self, doors: Sequence[Client], every: float = 0.2) -> None:
        self._doors, self._every = doors, every
        self._ready = list(doors)
        self._over = threading.Event()
        self._thread = in_background(self._look)

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, number: int) -> Client:
        ready = self._ready
        return ready[number % len(ready)]

    def _look(self) -> None:
        while not self._over.wait(self._every):
            self._ready = [door for door in self._doors if self._is_ready(door)] or self._ready

    def _is_ready(self, door: Client) -> bool:
        try:
            return door.get("/readyz").status == 200
        except CUT:
            return False
