"""A provider and the files that say what it must make of what: requests, replies, streams, lists, errors."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connections.providers.calls import Answer, Call, Framing, Mode, Outgoing, Reply, Target
from connections.providers.contract import Provider
from connections.providers.engine_dialect import EngineDialect, Place
from connections.providers.framing import reader

PLACE = Place("http://127.0.0.1:8080", "engine-key-canary-5d0c77e1")
"""Where a running engine is, for the providers that have one."""
ENDINGS = {".sse": Framing.SSE, ".ndjson": Framing.NDJSON, ".nul": Framing.NUL, ".bin": None}
"""How recorded streams are framed; `.bin`: as the provider says."""
CONTENT: Mapping[Mode, dict[str, Any]] = {
    Mode.CHAT: {"messages": [{"role": "user", "content": "Hello"}]},
    Mode.COMPLETION: {"prompt": "Hello"},
    Mode.EMBEDDING: {"input": ["Hello"]},
    Mode.IMAGE: {"prompt": "A fish"},
    Mode.RERANK: {"query": "fish", "documents": ["A fish.", "A bird."]},
}


class Missing(AssertionError):
    """A file that must be there is not."""


@dataclass(frozen=True)
class Golden:
    """One provider's class with its folders; what the first one lacks is taken from the next."""

    kind: type[Provider]
    folders: Sequence[Path]
    lent: Mapping[str, Provider] = field(default_factory=dict)

    # --- files ---

    def files(self, pattern: str) -> list[Path]:
        """The files of this name's pattern, from the nearest folder that has any."""
        found = (sorted(folder.glob(pattern), key=_plain_first) for folder in self.folders)
        return next((files for files in found if files), [])

    def read(self, name: str, default: Any = None) -> Any:
        found = self.files(name)
        if not found and default is None:
            raise Missing(f"There is no golden file {name} for {self.kind.kind}.")
        return json.loads(found[0].read_text()) if found else default

    def inherited(self, pattern: str) -> bool:
        """Whether the files are another provider's, which reads them in the same way."""
        return any(path.parent != self.folders[0] for path in self.files(pattern))

    def streams(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """The recorded streams and what each of them says."""
        for path in self.files("*_stream*"):
            if path.suffix in ENDINGS:
                yield path.read_bytes(), json.loads(path.with_suffix(".json").read_text())

    # --- the provider ---

    def make(self, **settings: Any) -> Provider:
        given = {**self.read("settings.json"), **settings}
        made = self.kind(self.kind.Settings.model_validate(given), self.lent)
        return made.at(PLACE) if isinstance(made, EngineDialect) else made

    @property
    def modes(self) -> list[Mode]:
        return [mode for mode in Mode if mode in self.kind.modes]

    def target(self, mode: Mode) -> Target:
        """A model of this mode: the one that the golden request is for, or the catalogue's first."""
        for path in self.files(f"{mode}_request*.json"):
            return target_from(json.loads(path.read_text())["target"], mode)
        listed = (model.id for model in self.kind.catalogue if model.mode is mode and not model.lifecycle)
        return Target(next(listed, "a-model"), mode)

    def call(self, mode: Mode | None = None, **body: Any) -> Call:
        """A small call; `body` adds to it. Without a mode: a chat, or the first thing the provider can do."""
        mode = mode or self.modes[0]
        return Call(mode, self.target(mode), {**CONTENT[mode], **body}, request_id="req-1")

    def sent(self, provider: Provider) -> list[Outgoing]:
        """Its check, and a small call where it has models."""
        return [provider.check(), *([provider.request(self.call())] if self.modes else [])]

    def read_reply(self, provider: Provider, mode: Mode, recorded: Mapping[str, Any]) -> Reply:
        """The reply that a recorded answer amounts to."""
        target = target_from(recorded["target"], mode) if "target" in recorded else self.target(mode)
        answer = recorded["answer"]
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        asked = {**CONTENT[mode], **recorded.get("call", {})}
        return provider.reply(Call(mode, target, asked), Answer(200, recorded.get("headers", {}), body))


def target_from(told: Mapping[str, Any], mode: Mode) -> Target:
    return Target(**{"mode": mode, **told, "capabilities": frozenset(told.get("capabilities", ()))})


def stream_call(expected: Mapping[str, Any]) -> Call:
    """The call whose answer was recorded."""
    mode = Mode(expected.get("mode", "chat"))
    target = target_from(expected.get("target", {"upstream_id": "a-model"}), mode)
    return Call(mode, target, CONTENT[mode], stream=True)


def read_stream(
    provider: Provider, expected: Mapping[str, Any], pieces: Sequence[bytes], *, wants_usage: bool = True
) -> tuple[list[Any], Any]:
    """The chunks of a stream that arrives in these pieces, and its reader."""
    call = stream_call(expected)
    call.wants_usage = wants_usage
    frames, events = reader(provider.framing_of(call)), provider.events(call)
    found = [frame for piece in pieces for frame in frames.feed(piece)] + frames.end()
    chunks = [chunk for frame in found for chunk in events.feed(frame)] + list(events.end())
    if any(b"\n" in chunk for chunk in chunks):
        raise AssertionError("a chunk has a line break, which would end its event too early")
    return [json.loads(chunk) for chunk in chunks], events


def _plain_first(path: Path) -> tuple[int, str]:
    return len(path.name), path.name
