"""LangServe: a chain or chat model of LangChain behind `/invoke` and `/stream`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import SecretStr, model_validator

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
    Target,
    Usage,
)
from connections.providers.contract import ONE_CHOICE, Abilities, Auth, EventReader, Provider, StaticHeaders
from connections.providers.conversation import arguments_of, name_of
from connections.providers.errors import ProviderError
from connections.providers.fields import HeaderName, Secret, Url, joined
from connections.providers.parameters import ParameterTable
from connections.providers.prompt_formats import turns
from connections.providers.settings import ModelOptions, ProviderSettings, setting
from connections.providers.shapes import ShapedReader, mapping, mappings, string

TYPES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "human",
    "assistant": "ai",
    "tool": "tool",
}
"""What LangChain calls the roles; it fails on OpenAI's own."""
NOTHING_BUT_STOP = ParameterTable.of("stop")
BOUND = ParameterTable.of(
    "stop", "temperature", "top_p", "max_tokens", "tools", "tool_choice", "response_format", "seed"
)
ROUTES = ("/invoke", "/stream", "/batch", "/playground")


class RunnableOptions(ModelOptions):
    input: Literal["messages", "text", "field"] = setting(
        "What it takes",
        default="messages",
        help="messages: a chat model. text: one text. field: variables of a chain's prompt.",
    )
    field: str = setting(
        "Field of the question", default="", help="For field: the variable that gets the last user text."
    )
    history_field: str = setting(
        "Field of the history", default="", help="For field: the variable that gets the messages before it, if any."
    )


class LangServe(Provider):
    kind = "langserve"
    label = "LangServe"
    summary = "A LangChain chain or chat model behind LangServe."
    mark = "langserve"
    order = 68
    group = "self_hosted"
    docs_url = "https://github.com/langchain-ai/langserve"
    modes = frozenset({Mode.CHAT})
    parameters = NOTHING_BUT_STOP
    framing = Framing.SSE_NAMED
    price_provider = "local"
    ModelOptions = RunnableOptions

    class Settings(ProviderSettings):
        base_url: Url = setting(
            "Address of the runnable",
            help="Its path in the application, in front of /invoke.",
            target=True,
            placeholder="https://chains.example.com/chat",
            min_length=1,
        )
        sign_in: Literal["none", "bearer", "header"] = setting(
            "Sign-in", default="none", help="As the application asks for it.", target=True
        )
        api_key: Secret = setting("Key", default=SecretStr(""), help="For sign-in by bearer or header.")
        header_name: HeaderName = setting(
            "Header name",
            default="",
            help="For sign-in by header.",
            target=True,
            advanced=True,
            placeholder="x-api-key",
        )
        bind: bool = setting(
            "Pass parameters on",
            default=False,
            help="Sends temperature, tools and the like along as kwargs, for runnables that are a chat model.",
            advanced=True,
        )

        @model_validator(mode="after")
        def _complete(self) -> Self:
            if self.sign_in != "none" and not self.api_key.get_secret_value():
                raise ValueError("This sign-in needs a key. Without a key choose sign-in none.")
            if self.sign_in == "header" and not self.header_name:
                raise ValueError("Sign-in by header needs the header's name.")
            return self

    settings: Settings

    @property
    def auth(self) -> Auth:
        key = self.settings.api_key.get_secret_value()
        match self.settings.sign_in:
            case "bearer":
                return StaticHeaders({"Authorization": f"Bearer {key}"})
            case "header":
                return StaticHeaders({self.settings.header_name: key})
            case _:
                return StaticHeaders()

    @property
    def _base_url(self) -> str:
        url = self.settings.base_url
        return next((url.removesuffix(route) for route in ROUTES if url.endswith(route)), url)

    def request(self, call: Call) -> Outgoing:
        given = {name: wire.plain(value) for name, value in self.parameters_for(call.target).apply(call).items()}
        given.pop("messages")
        body = {"input": self._input(call), "config": {}, "kwargs": given}
        url = joined(self._base_url, "stream" if call.stream else "invoke")
        return Outgoing("POST", url, {"Content-Type": "application/json"}, wire.encode(body))

    def _input(self, call: Call) -> Any:
        options = RunnableOptions.stored(call.target.options)
        messages = [_message(message) for message in wire.plain(call.body["messages"])]
        match options.input:
            case "text":
                return "\n\n".join(turn.text for turn in turns(call))
            case "field":
                made: JSON = {options.field or "input": messages[-1]["content"]}
                return {**made, options.history_field: messages[:-1]} if options.history_field else made
            case _:
                return messages

    def reply(self, call: Call, answer: Answer) -> Reply:
        said = shapes.decoded(answer.body, self.secrets())
        if "output" not in said:
            raise problems.unreadable(answer.body, self.secrets())
        output = mapping(said["output"])
        message: JSON = {"content": _text(said["output"])}
        calls = [_tool_call(one) for one in mappings(output.get("tool_calls"))]
        if calls:
            message["tool_calls"] = calls
        told = mapping(output.get("response_metadata"))
        model = string(told, "model_name") or call.target.upstream_id
        return shapes.chat_reply(message, _finish(told, bool(calls)), _usage(output), model=model)

    def events(self, call: Call) -> EventReader:
        return _Reader(self.secrets(), call.wants_usage, call.target.upstream_id)

    def problem(self, answer: Answer) -> ProviderError:
        return problems.named(answer, self.secrets())

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self._base_url, "input_schema"))

    def models(self, answer: Answer) -> list[ModelInfo]:
        """One runnable, one model: named after its path."""
        shapes.decoded(answer.body, self.secrets())
        return [ModelInfo(self._base_url.rstrip("/").rpartition("/")[2] or "chain")]

    def parameters_for(self, target: Target) -> ParameterTable:
        return BOUND if self.settings.bind else NOTHING_BUT_STOP

    def abilities(self, target: Target) -> Abilities:
        return replace(ONE_CHOICE)


# --- what is asked ---------------------------------------------------------------------------------------


def _message(message: JSON) -> JSON:
    made: JSON = {"type": TYPES[message["role"]], "content": message.get("content") or ""}
    if message["role"] == "tool":
        made["tool_call_id"] = message.get("tool_call_id", "")
    if message.get("tool_calls"):
        made["tool_calls"] = [_called(call) for call in message["tool_calls"]]
    return made


def _called(call: JSON) -> JSON:
    return {"type": "tool_call", "id": call.get("id", ""), "name": name_of(call), "args": arguments_of(call)}


# --- what is answered ------------------------------------------------------------------------------------


def _text(output: Any) -> str:
    """A message's content, or whatever a chain ends in: a text, or an object as JSON."""
    if isinstance(output, str):
        return output
    if not isinstance(output, dict) or "content" not in output:
        return wire.encode(output).decode()
    content = output["content"]
    return content if isinstance(content, str) else "".join(string(part, "text") for part in mappings(content))


def _tool_call(call: Mapping[str, Any]) -> JSON:
    arguments = wire.encode(call.get("args") or {}).decode()
    function = {"name": string(call, "name"), "arguments": arguments}
    return {"id": string(call, "id"), "type": "function", "function": function}


def _finish(told: Mapping[str, Any], calls: bool) -> str:
    reason = string(told, "finish_reason") or string(told, "stop_reason")
    return "tool_calls" if calls else "length" if reason in {"length", "max_tokens"} else "stop"


def _usage(message: Mapping[str, Any]) -> Usage:
    told = mapping(message.get("usage_metadata"))
    return wire.usage(told.get("input_tokens"), told.get("output_tokens"))


class _Reader(ShapedReader):
    """Pieces of a message, or of whatever a chain ends in, until the event `end`."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool, model: str) -> None:
        super().__init__(secrets, wants_usage)
        self.model = model
        self._reason = ""
        self._called = False

    def feed(self, frame: Frame) -> Sequence[bytes]:
        match frame.event:
            case "data":
                return self._piece(wire.decode(wire.ANY, frame.data, self._secrets))
            case "error":
                raise problems.inside(wire.decode(wire.ANY, frame.data, self._secrets), self._secrets)
            case "end":
                self._done = True
        return ()

    def _piece(self, output: Any) -> Sequence[bytes]:
        message = mapping(output)
        if isinstance(message.get("usage_metadata"), dict):
            self.usage = _usage(message)
        self._reason = string(mapping(message.get("response_metadata")), "finish_reason") or self._reason
        chunks = self._text(_text(output))
        for piece in mappings(message.get("tool_call_chunks")):
            self._called = True
            chunks.append(self._delta(tool_calls=[_piece_of_call(piece)]))
        return chunks

    def end(self) -> Sequence[bytes]:
        self._check_end()
        return [*self._finish(_finish({"finish_reason": self._reason}, self._called)), *super().end()]


def _piece_of_call(piece: Mapping[str, Any]) -> JSON:
    index = piece.get("index")
    function = {"arguments": string(piece, "args")}
    made: JSON = {"index": index if isinstance(index, int) else 0, "function": function}
    if string(piece, "name"):
        function["name"] = string(piece, "name")
        made |= {"id": string(piece, "id"), "type": "function"}
    return made
