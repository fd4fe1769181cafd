"""DB-GPT's model workers: roles of their own, and streams that repeat the text so far."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from connections.providers import problems, shapes, wire
from connections.providers.calls import (
    JSON,
    Answer,
    Call,
    Frame,
    Mode,
    ModelInfo,
    Outgoing,
    Reply,
    Steps,
    Usage,
)
from connections.providers.contract import EventReader
from connections.providers.cumulative import Growing
from connections.providers.errors import ProviderError, RequestRefused, ServerFailed
from connections.providers.fields import Url, joined
from connections.providers.openai_replies import usage_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.scrubbing import scrub
from connections.providers.settings import ProviderSettings, setting
from connections.providers.shapes import ShapedReader, mapping, mappings, string
from connections.providers.workers import Worker

ROLES: Mapping[str, str] = {"system": "system", "developer": "system", "user": "human", "assistant": "ai"}
EMBEDDING = ParameterTable({})


class DBGPT(Worker):
    kind = "dbgpt"
    label = "DB-GPT"
    summary = "Model workers of a DB-GPT cluster."
    mark = "dbgpt"
    order = 67
    docs_url = "https://docs.dbgpt.cn/docs/installation/model_service/cluster"
    modes = frozenset({Mode.CHAT, Mode.EMBEDDING})
    parameters = ParameterTable.of(
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "stop_token_ids",
        max_tokens=Rule("max_new_tokens"),
        max_completion_tokens=Rule("max_new_tokens"),
    )
    embedding = EMBEDDING

    class Settings(ProviderSettings):
        base_url: Url = setting(
            "Worker URL", help="Where the model worker listens.", target=True, placeholder="http://127.0.0.1:8001",
            min_length=1,
        )  # fmt: skip
        controller_url: Url = setting(
            "Controller URL", default="", help="Knows which models run. Without it, type their names.", target=True,
            placeholder="http://127.0.0.1:8000",
        )  # fmt: skip
        version: Literal["current", "0.3"] = setting(
            "Server version", default="current", help="0.3: the model server of the first releases.", advanced=True
        )

    settings: Settings

    def request(self, call: Call) -> Outgoing:
        if call.mode is Mode.EMBEDDING:
            return self._post(self._path("embeddings", "embedding"), self._embedding(call))
        route = "generate_stream" if call.stream else "generate"
        return self._post(self._path(route, route), self._chat(call))

    def _path(self, current: str, first: str) -> str:
        return first if self.settings.version == "0.3" else f"api/worker/{current}"

    def _post(self, path: str, body: JSON) -> Outgoing:
        return self.post(self.settings.base_url, path, body)

    def _chat(self, call: Call) -> JSON:
        given = {name: wire.plain(value) for name, value in self.parameters.apply(call).items()}
        messages = [_message(message, place) for place, message in enumerate(given.pop("messages"))]
        head = {"model": call.target.upstream_id, "messages": messages, "prompt": "", "echo": False}
        return {**head, **given} if self.settings.version == "0.3" else {**head, "version": "v2", **given}

    def _embedding(self, call: Call) -> JSON:
        given = wire.plain(EMBEDDING.apply(call)["input"])
        texts = [given] if isinstance(given, str) else given
        return {"model": call.target.upstream_id, "input": texts, "worker_type": "text2vec"}

    def reply(self, call: Call, answer: Answer) -> Reply:
        said = wire.decode(wire.ANY, answer.body.rstrip(b"\0"), ())
        if call.mode is Mode.EMBEDDING and isinstance(said, list):
            return _vectors(said, call)
        told = _checked(said)
        text, thought = _text(told)
        if text is None or call.mode is Mode.EMBEDDING:
            raise problems.unreadable(answer.body, ())
        message = {"content": text, **({"reasoning_content": thought} if thought else {})}
        return shapes.chat_reply(message, _reason(told), _usage(told), model=call.target.upstream_id)

    def events(self, call: Call) -> EventReader:
        return _Reader((), call.wants_usage, call.target.upstream_id)

    def check(self) -> Outgoing:
        """The first releases have no route that only looks: asking for nothing shows whether somebody answers."""
        return Outgoing("GET", joined(self.settings.base_url, "api/health"))

    def check_problem(self, answer: Answer) -> ProviderError | None:
        unknown = self.settings.version == "0.3" and answer.status == 404
        return None if unknown else super().check_problem(answer)

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        if not self.settings.controller_url:
            return []
        answer = yield Outgoing("GET", joined(self.settings.controller_url, "api/controller/models"))
        if answer.status >= 300:
            raise self.problem(answer)
        return self.models(answer)

    def models(self, answer: Answer) -> list[ModelInfo]:
        """Named `name@kind`."""
        content = wire.decode(wire.ANY, answer.body, ())
        found = [string(item, "model_name").partition("@") for item in mappings(content)]
        kinds = {"llm": Mode.CHAT, "text2vec": Mode.EMBEDDING}
        return [ModelInfo(name, kinds[kind]) for name, _, kind in found if name and kind in kinds]


def _message(message: JSON, place: int) -> JSON:
    content = message.get("content") or ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if message["role"] not in ROLES or message.get("tool_calls") or any(part["type"] != "text" for part in parts):
        raise RequestRefused("This model takes plain text only: no pictures and no tools.", status=400)
    text = "\n\n".join(part["text"] for part in parts)
    return {"role": ROLES[message["role"]], "content": text, "round_index": place // 2}


def _checked(said: Any) -> Mapping[str, Any]:
    """Failures come with HTTP 200, the reason as the text."""
    if not isinstance(said, dict):
        raise problems.unreadable(wire.encode(said), ())
    if said.get("error"):
        raise problems.inside(said, ())
    if said.get("error_code"):
        words = scrub(_text(said)[0] or "", ())
        raise ServerFailed("The model worker failed. Is the model's name right, and is it running?", evidence=words)
    return said


def _text(said: Mapping[str, Any]) -> tuple[str | None, str]:
    """The text and the thoughts. Older versions have `text`; newer ones one part or several."""
    content = said.get("content")
    parts = mappings(content if isinstance(content, list) else [content])
    if not parts:
        return (string(said, "text"), "") if isinstance(said.get("text"), str) else (None, "")
    texts = [string(mapping(part.get("object")), "data") for part in parts if part.get("type") == "text"]
    thoughts = [string(mapping(part.get("object")), "data") for part in parts if part.get("type") == "thinking"]
    return "".join(texts), "".join(thoughts)


def _reason(said: Mapping[str, Any]) -> str:
    return "length" if said.get("finish_reason") == "length" else "stop"


def _usage(said: Mapping[str, Any]) -> Usage:
    """Often null: then it is not known."""
    return usage_of(said["usage"]) if isinstance(said.get("usage"), dict) else Usage()


def _vectors(vectors: list[Any], call: Call) -> Reply:
    if not vectors or not all(isinstance(one, list) and one for one in vectors):
        raise problems.unreadable(wire.encode(vectors), ())
    return shapes.embedding_reply(vectors, Usage(None, 0), model=call.target.upstream_id)


class _Reader(ShapedReader):
    """Nothing says that the text is complete but the end of the stream, unless a reason is given."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool, model: str) -> None:
        super().__init__(secrets, wants_usage)
        self.model = model
        self._texts, self._thoughts = Growing(), Growing()
        self._reason = ""

    def feed(self, frame: Frame) -> Sequence[bytes]:
        said = _checked(wire.decode(wire.ANY, frame.data, self._secrets))
        text, thought = _text(said)
        if text is None:
            raise problems.unreadable(frame.data, self._secrets)
        if isinstance(said.get("usage"), dict):
            self.usage = usage_of(said["usage"])
        self._reason = _reason(said) if said.get("finish_reason") else self._reason
        if not said.get("incremental"):
            text, thought = self._texts.tail(text), self._thoughts.tail(thought)
        return self._text(thought, name="reasoning_content") + self._text(text)

    def end(self) -> Sequence[bytes]:
        self._done = self._heard
        self._check_end()
        return [*self._finish(self._reason or "stop"), *super().end()]
