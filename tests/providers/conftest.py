"""Every provider in the registry, set up with the settings of its golden folder.

A folder in `golden/` is named after a provider's kind or after the module of a dialect. What a provider's own folder
lacks is taken from those of the classes it inherits from: a copy of a dialect needs little more than its
`settings.json` and one request.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connections.providers import registry
from connections.providers.calls import Answer, Call, Framing, Mode, Reply, Target
from connections.providers.contract import Provider
from connections.providers.engine_dialect import EngineDialect, Place
from connections.providers.framing import reader

GOLDEN = Path(__file__).parent / "golden"
PLACE = Place("http://127.0.0.1:8080", "engine-key-canary-5d0c77e1")
"""Where a running engine is, for the providers that have one."""
ENDINGS = {".sse": Framing.SSE, ".ndjson": Framing.NDJSON, ".nul": Framing.NUL, ".bin": None}
"""How the streams of golden files are framed; `.bin`: as the provider says."""
CONTENT = {
    Mode.CHAT: {"messages": [{"role": "user", "content": "Hello"}]},
    Mode.COMPLETION: {"prompt": "Hello"},
    Mode.EMBEDDING: {"input": ["Hello"]},
    Mode.IMAGE: {"prompt": "A fish"},
    Mode.RERANK: {"query": "fish", "documents": ["A fish.", "A bird."]},
}


def folders(kind: str) -> list[Path]:
    """Where a provider's golden files may lie, its own folder first."""
    classes = registry.providers()[kind].__mro__
    names = [kind] + [vars(one).get("kind") or one.__module__.rpartition(".")[2] for one in classes]
    return [GOLDEN / name for name in dict.fromkeys(names) if (GOLDEN / name).is_dir()]


def files(kind: str, pattern: str) -> list[Path]:
    """The files of this name's pattern, from the nearest folder that has any."""
    return next((found for folder in folders(kind) if (found := sorted(folder.glob(pattern), key=_plain_first))), [])


def _plain_first(path: Path) -> tuple[int, str]:
    return len(path.name), path.name


def golden(kind: str, name: str) -> Any:
    found = files(kind, name)
    assert found, f"There is no golden file {name} for {kind}."
    return json.loads(found[0].read_text())


def make(kind: str, **settings: Any) -> Provider:
    provider = registry.providers()[kind]
    given = golden(kind, "settings.json")
    lent = {name: make(lender) for name, lender in provider.Settings.lender_kinds().items() if given.get(name)}
    made = provider(provider.Settings.model_validate({**given, **settings}), lent)
    return made.at(PLACE) if isinstance(made, EngineDialect) else made


def target_of(provider: Provider, mode: Mode) -> Target:
    """A model of this mode: the one that the golden request is for, or the catalogue's first."""
    for path in files(provider.kind, f"{mode}_request*.json"):
        return target_from(json.loads(path.read_text())["target"], mode)
    name = next((model.id for model in provider.catalogue if model.mode is mode and not model.lifecycle), "a-model")
    return Target(name, mode)


def target_from(told: dict[str, Any], mode: Mode) -> Target:
    return Target(**{"mode": mode, **told, "capabilities": frozenset(told.get("capabilities", ()))})


def a_call(provider: Provider, mode: Mode | None = None, **body: Any) -> Call:
    """A small call; `body` adds to it. Without a mode: a chat, or the first thing the provider can do."""
    mode = mode or first_mode(provider)
    return Call(mode, target_of(provider, mode), {**CONTENT[mode], **body}, request_id="req-1")


def first_mode(provider: Provider) -> Mode:
    return next(mode for mode in Mode if mode in type(provider).modes)


def streams(kind: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The recorded streams and what each of them says."""
    for path in files(kind, "*_stream*[!n]"):
        if path.suffix in ENDINGS:
            yield path.read_bytes(), json.loads(path.with_suffix(".json").read_text())


def read_stream(
    provider: Provider, expected: dict[str, Any], pieces: list[bytes], *, wants_usage: bool = True
) -> tuple[list[Any], Any]:
    """The chunks of a stream that arrives in these pieces, and its reader."""
    mode = Mode(expected.get("mode", "chat"))
    call = Call(mode, target_from(expected.get("target", {"upstream_id": "a-model"}), mode), CONTENT[mode])
    call.stream, call.wants_usage = True, wants_usage
    frames, events = reader(provider.framing_of(call)), provider.events(call)
    found = [frame for piece in pieces for frame in frames.feed(piece)] + frames.end()
    chunks = [chunk for frame in found for chunk in events.feed(frame)] + list(events.end())
    assert all(b"\n" not in chunk for chunk in chunks)
    return [json.loads(chunk) for chunk in chunks], events


def read_reply(provider: Provider, mode: Mode, recorded: dict[str, Any]) -> Reply:
    """The reply that a recorded answer amounts to."""
    target = target_from(recorded["target"], mode) if "target" in recorded else target_of(provider, mode)
    answer = recorded["answer"]
    body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
    asked = {**CONTENT[mode], **recorded.get("call", {})}
    return provider.reply(Call(mode, target, asked), Answer(200, recorded.get("headers", {}), body))


@pytest.fixture(params=list(registry.providers()))
def provider(request: pytest.FixtureRequest) -> Provider:
    """Each provider in turn; a new one comes in by itself, with a folder of golden files."""
    return make(request.param)
