"""FastChat's workers, reached themselves or through their controller. They take plain prompts."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import structs
from pydantic import AfterValidator

from connections.providers import problems, shapes, wire
from connections.providers.calls import (
    JSON,
    Answer,
    Call,
    Frame,
    Framing,
    Mode,
    ModelInfo,
    Outgoing,
    Reply,
    Steps,
)
from connections.providers.contract import EventReader
from connections.providers.cumulative import Growing
from connections.providers.errors import (
    AddressRefused,
    BadReply,
    ContextTooLong,
    KeyRefused,
    ModelMissing,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRefused,
    ServerFailed,
)
from connections.providers.fields import Url, joined, tidy_address
from connections.providers.framing import reader
from connections.providers.openai_replies import usage_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.prompt_formats import PromptOptions
from connections.providers.scrubbing import scrub
from connections.providers.settings import ProviderSettings, setting
from connections.providers.shapes import ShapedReader, mapping, string
from connections.providers.workers import Worker

CODES: Mapping[int, type[ProviderError]] = {
    40101: KeyRefused,
    40102: KeyRefused,
    40301: ModelMissing,
    40303: ContextTooLong,
    42901: RateLimited,
    50002: Overloaded,
    50005: Overloaded,
    50006: Overloaded,
}
"""What `error_code` says within an answer of HTTP 200; other codes go by their first digit."""
EMBEDDING = ParameterTable.of("encoding_format")
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
ELSEWHERE = (
    "The controller named a worker on a host that this connection does not allow. An admin can add it to the"
    " hosts of workers."
)


def _host(name: str) -> str:
    if not HOST.fullmatch(name):
        raise ValueError(f"{name[:60]!r} is no host's name: give it without http:// and without a port.")
    return name.lower()


class FastChat(Worker):
    kind = "fastchat"
    label = "FastChat"
    summary = "Model workers of FastChat, or their controller."
    mark = "fastchat"
    order = 66
    docs_url = "https://github.com/lm-sys/FastChat"
    modes = frozenset({Mode.COMPLETION, Mode.EMBEDDING})
    parameters = ParameterTable.of(
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "echo",
        "stop_token_ids",
        "use_beam_search",
        max_tokens=Rule("max_new_tokens"),
    )
    embedding = EMBEDDING
    checks_by_post = True
    ModelOptions = PromptOptions

    class Settings(ProviderSettings):
        base_url: Url = setting(
            "Server URL", help="Of a worker or of the controller.", target=True, placeholder="http://127.0.0.1:21002",
            min_length=1,
        )  # fmt: skip
        role: Literal["worker", "controller"] = setting(
            "This is a", default="worker", help="The controller passes prompts on to its workers.", target=True
        )
        worker_hosts: list[Annotated[str, AfterValidator(_host)]] = setting(
            "Hosts of workers",
            default=[],
            help="Where a controller's workers may be for embeddings, one per line, beside the controller's own host.",
            target=True,
            advanced=True,
        )

    settings: Settings

    def request(self, call: Call) -> Outgoing:
        if call.mode is Mode.EMBEDDING:
            return self._post("worker_get_embeddings", {"model": call.target.upstream_id, **_embedding(call)})
        whole = self.settings.role == "worker" and not call.stream
        return self._post("worker_generate" if whole else "worker_generate_stream", self._body(call))

    def _body(self, call: Call) -> JSON:
        given = {name: wire.plain(value) for name, value in self.parameters.apply(call).items()}
        if isinstance(given["prompt"], list):
            if len(given["prompt"]) != 1:
                raise RequestRefused("This model takes one prompt at a time.", status=400)
            given["prompt"] = given["prompt"][0]
        return {"model": call.target.upstream_id, "echo": False, **given}

    def _post(self, path: str, body: JSON) -> Outgoing:
        return self.post(self.settings.base_url, path, body)

    def steps(self, call: Call) -> Steps[Reply]:
        """The controller passes on prompts only: for anything else it names the worker."""
        request = self.request(call)
        if call.mode is Mode.EMBEDDING and self.settings.role == "controller":
            named = yield self._post("get_worker_address", {"model": call.target.upstream_id})
            request = structs.replace(request, url=joined(self._address(named), "worker_get_embeddings"))
        answer = yield request
        if answer.status >= 300:
            raise self.problem(answer)
        return self.reply(call, answer)

    def _address(self, answer: Answer) -> str:
        if answer.status >= 300:
            raise self.problem(answer)
        address = string(mapping(wire.decode(wire.ANY, answer.body, self.secrets())), "address")
        if not address:
            raise ModelMissing("The controller has no worker for this model.")
        try:
            address = tidy_address(address)
        except ValueError as error:
            raise BadReply(
                "The controller named a worker by what is no address.", evidence=scrub(address, ())
            ) from error
        if urlsplit(address).hostname not in {urlsplit(self.settings.base_url).hostname, *self.settings.worker_hosts}:
            raise AddressRefused(ELSEWHERE, evidence=scrub(address, ()))
        return address

    def reply(self, call: Call, answer: Answer) -> Reply:
        said = _last(answer.body)
        if call.mode is Mode.EMBEDDING:
            return _vectors(said, call)
        if not isinstance(said.get("text"), str):
            raise problems.unreadable(answer.body, self.secrets())
        finish = "length" if said.get("finish_reason") == "length" else "stop"
        usage = usage_of(said.get("usage"))
        return shapes.completion_reply([(said["text"], finish)], usage, model=call.target.upstream_id)

    def events(self, call: Call) -> EventReader:
        return _Reader(self.secrets(), call.wants_usage, call.target.upstream_id)

    def check(self) -> Outgoing:
        return self._post("worker_get_status" if self.settings.role == "worker" else "list_models", {})

    def models(self, answer: Answer) -> list[ModelInfo]:
        content = mapping(wire.decode(wire.ANY, answer.body, self.secrets()))
        names = content.get("model_names", content.get("models"))
        if not isinstance(names, list):
            raise problems.unreadable(answer.body, self.secrets())
        return [ModelInfo(name, Mode.COMPLETION) for name in names if isinstance(name, str)]


def _embedding(call: Call) -> JSON:
    given = {name: wire.plain(value) for name, value in EMBEDDING.apply(call).items()}
    return {**given, "input": [given["input"]] if isinstance(given["input"], str) else given["input"]}


def _last(body: bytes) -> Mapping[str, Any]:
    """What one answer says, or the last event of a stream that was read whole."""
    frames = reader(Framing.NUL)
    found = frames.feed(body) + frames.end()
    if not found:
        raise BadReply("The provider's answer was empty.")
    return _checked(wire.decode(wire.ANY, found[-1].data, ()))


def _checked(said: Any) -> Mapping[str, Any]:
    """Raises what an error amounts to that came with HTTP 200."""
    if not isinstance(said, dict):
        raise problems.unreadable(wire.encode(said), ())
    code = said.get("error_code")
    if isinstance(code, int) and code:
        kind = CODES.get(code, RequestRefused if code < 50_000 else ServerFailed)
        raise kind(problems.SENTENCES[kind], evidence=scrub(string(said, "text"), ()))
    if said.get("error"):
        raise problems.inside(said, ())
    return said


def _vectors(said: Mapping[str, Any], call: Call) -> Reply:
    vectors = said.get("embedding")
    if not isinstance(vectors, list) or not vectors or not all(isinstance(one, list) and one for one in vectors):
        raise problems.unreadable(wire.encode(said), ())
    return shapes.embedding_reply(vectors, wire.usage(said.get("token_num"), 0), model=call.target.upstream_id)


class _Reader(ShapedReader):
    """Events with the whole text so far; the last one says why it ends."""

    mode = Mode.COMPLETION

    def __init__(self, secrets: Sequence[str], wants_usage: bool, model: str) -> None:
        super().__init__(secrets, wants_usage)
        self.model = model
        self._growing = Growing()

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self.finish_reason:
            return ()
        said = _checked(wire.decode(wire.ANY, frame.data, self._secrets))
        if isinstance(said.get("usage"), dict):
            self.usage = usage_of(said["usage"])
        if not isinstance(said.get("text"), str):
            raise problems.unreadable(frame.data, self._secrets)
        chunks = self._text(self._growing.tail(said["text"]))
        reason = said.get("finish_reason")
        return chunks + self._finish("length" if reason == "length" else "stop") if reason else chunks
