"""A vendor's own client without the vendor: what it asks is kept, what it is told are our golden files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import TypeAdapter

from connections.providers.calls import Call, Mode, Outgoing
from tests.providers.conftest import files, make, target_from

KINDS = {".json": "application/json", ".sse": "text/event-stream", ".ndjson": "application/stream+json"}
HELLO = [{"role": "user", "content": "Hello"}]
ASKED = {"model": "a-model", "messages": HELLO}


@dataclass
class Official:
    """The client at hand, and what stands in for the system behind it."""

    library: ModuleType
    """httpx, or the fork of it that the client speaks with."""
    refusal: type[Exception]
    """What the client raises for an answer of 400."""
    written: Callable[[Any], Any] = lambda body: body
    """What counts of a body that it writes."""
    client: Any = None
    asked: list[Any] = field(default_factory=list)
    status: int = 400
    body: bytes = b"{}"
    kind: str = KINDS[".json"]

    @property
    def transport(self) -> Any:
        return self.library.MockTransport(self._answer)

    def connected(self) -> Any:
        return self.library.Client(transport=self.transport)

    def _answer(self, request: Any) -> Any:
        self.asked.append(request)
        return self.library.Response(self.status, content=self.body, headers={"content-type": self.kind})

    def tell(self, answer: Any) -> None:
        self.status, self.body, self.kind = 200, json.dumps(answer).encode(), KINDS[".json"]

    def told(self, path: Path) -> dict[str, Any]:
        """Answer with a recorded reply or stream; gives what our readers make of it."""
        if path.suffix == ".json":
            content = json.loads(path.read_text())
            self.tell(content["answer"])
            return content["reply"]
        self.status, self.body, self.kind = 200, path.read_bytes(), KINDS[path.suffix]
        return json.loads(path.with_suffix(".json").read_text())

    def asks_like(
        self, ours: Outgoing, ask: Callable[..., Any], beyond: Mapping[str, Any] | None = None, **named: Any
    ) -> None:
        """Give our body's fields to the client: it makes the request that we make.

        `beyond`: what we send although this client has no parameter for it. `named`: what it takes that is not in
        the body.
        """
        body, beyond = json.loads(ours.body), beyond or {}
        assert {name: body.pop(name) for name in beyond} == beyond
        assert not beyond.keys() & signature(ask).parameters.keys()
        with pytest.raises(self.refusal):
            ask(**named, **body)
        self.asked_like(ours, body)

    def asked_like(self, ours: Outgoing, body: Any) -> None:
        theirs = self.asked[-1]
        assert (theirs.method, str(theirs.url.copy_with(fragment=None))) == (ours.method, ours.url)
        assert {name: theirs.headers.get(name) for name in ours.headers} == ours.headers
        assert (self.written(json.loads(theirs.content)) if theirs.content else None) == body


# --- golden files ----------------------------------------------------------------------------------------


def recorded(kind: str, *patterns: str) -> Any:
    """A test for each of these golden files."""
    paths = [path for pattern in patterns for path in files(kind, pattern)]
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


def ours(kind: str, path: Path, **settings: Any) -> Outgoing:
    """What we send for the call of a golden request, signed."""
    content, mode = json.loads(path.read_text()), Mode(path.stem.partition("_")[0])
    provider = make(kind, **settings)
    call = Call(mode, target_from(content["target"], mode), content["call"], stream=content.get("stream", False))
    return provider.auth.sign(provider.request(call))


def key_of(kind: str) -> str:
    return make(kind).settings.api_key.get_secret_value()


def words_of(expected: Mapping[str, Any]) -> dict[str, Any]:
    return {"text": expected["text"], "tool_calls": expected["tool_calls"]}


def counts_of(expected: Mapping[str, Any]) -> tuple[int, int]:
    return expected["usage"]["prompt_tokens"], expected["usage"]["completion_tokens"]


# --- what the clients made of them -----------------------------------------------------------------------


def said(message: Any) -> dict[str, Any]:
    """What a message of OpenAI's shape says."""
    calls = [{"id": name, "name": function, "arguments": given} for name, function, given in calls_of(message)]
    return {"text": message.content, "tool_calls": calls}


def calls_of(message: Any) -> list[tuple[str, str, Any]]:
    return [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]


def text_of(content: Any) -> str:
    """The text of a content that may be in parts."""
    if isinstance(content, list):
        return "".join(part.text for part in content if part.type == "text")
    return content or ""


def counted(usage: Any) -> tuple[int, int]:
    return usage.prompt_tokens, usage.completion_tokens


# --- what their types know -------------------------------------------------------------------------------


def known(params: Any, body: Any) -> Any:
    """The body as far as a client's types know it. Raises ValidationError for a value that they do not take."""
    adapter = TypeAdapter(params)
    return _listed(adapter.validate_python(body))


def _listed(value: Any) -> Any:
    """What those types call `Iterable` is checked on its way into a list."""
    if isinstance(value, dict):
        return {name: _listed(item) for name, item in value.items()}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [_listed(item) for item in value]
