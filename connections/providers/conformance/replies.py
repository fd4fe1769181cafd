"""Whole answers, and lists of models."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from connections.providers import errors
from connections.providers.calls import Answer, Mode
from connections.providers.conformance.demands import demand, equal, raises
from connections.providers.conformance.golden import Golden

UNREADABLE = (
    b"",
    b" ",
    b"null",
    b"[]",
    b"{}",
    b"7",
    b"<html><body>Please sign in</body></html>",
    b'{"choices": [{"mess',
    b'{"choices": []}',
    b'{"choices": "no", "content": 7, "data": 5}',
    b"data: {}\n\n",
    b"[" * 100_000,
    '{"choices": [{"message": {"content": "Grüße"}}], "data": [{"embedding": "ü"}]}'.encode("latin-1"),
)


def golden_replies_are_read(golden: Golden) -> None:
    """Recorded answers become OpenAI's shape, with usage, finish reason and model."""
    for path in golden.files("*_reply*.json"):
        golden_reply_is_read(golden, path)


def golden_reply_is_read(golden: Golden, path: Path) -> None:
    """One of them."""
    recorded, mode = json.loads(path.read_text()), Mode(path.stem.partition("_")[0])
    reply = golden.read_reply(golden.make(), mode, recorded)
    expected, body = recorded["reply"], json.loads(reply.body)
    found = CONTENT_IN[mode](body)
    equal(found, {name: expected[name] for name in found}, f"{path.name}: it says")
    for name in ("finish_reason", "model"):
        equal(getattr(reply, name), expected.get(name, getattr(reply, name)), f"{path.name}: {name} is")
    usage = {name: getattr(reply.usage, name) for name in expected["usage"]}
    equal(usage, expected["usage"], f"{path.name}: the usage is")
    demand(not reply.usage.suspect, f"{path.name}: the usage is suspect")
    if mode in {Mode.CHAT, Mode.COMPLETION}:
        finish = body["choices"][0]["finish_reason"]
        equal(finish, expected["finish_reason"], f"{path.name}: the body's finish reason is")


def _chat(body: Any) -> dict[str, Any]:
    message = body["choices"][0]["message"]
    calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls") or []]
    return {"text": message["content"], "tool_calls": calls}


CONTENT_IN: Mapping[Mode, Callable[[Any], dict[str, Any]]] = {
    Mode.CHAT: _chat,
    Mode.COMPLETION: lambda body: {"text": body["choices"][0]["text"]},
    Mode.EMBEDDING: lambda body: {"vectors": [item["embedding"] for item in body["data"]]},
    Mode.IMAGE: lambda body: {"pictures": [item.get("b64_json") or item["url"] for item in body["data"]]},
    Mode.RERANK: lambda body: {"ranking": [[one["index"], one["relevance_score"]] for one in body["results"]]},
}


def unreadable_answers_are_bad_replies(golden: Golden, bodies: tuple[bytes, ...] = UNREADABLE) -> None:
    """An answer that cannot be read, HTML and half JSON among them, is a BadReply."""
    provider = golden.make()
    for body in bodies:
        for mode in golden.modes:
            raises(
                errors.BadReply,
                lambda mode=mode, body=body: provider.reply(golden.call(mode), Answer(200, {}, body)),  # type: ignore[misc]
                f"{mode}: the answer {body[:40]!r}",
            )


def the_list_of_models_is_read(golden: Golden) -> None:
    """The recorded list gives the models that `models.json` says."""
    provider = golden.make()
    if not golden.files("models.json"):
        equal(provider.models(Answer(200, {}, b"{}")), [], "without a models.json, an empty answer lists")
        return
    recorded = golden.read("models.json")
    found = provider.models(Answer(200, {}, json.dumps(recorded["answer"]).encode()))
    equal([model.id for model in found], [model["id"] for model in recorded["models"]], "listed are")
    for model, expected in zip(found, recorded["models"], strict=True):
        equal({name: getattr(model, name) for name in expected}, expected, f"of {model.id} is said")
