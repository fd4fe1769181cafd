"""OpenAI's chat completions, completions and embeddings, as OpenAI and a great many other systems speak them.

The internal language is this one, so bytes pass through untouched; see `openai_replies` for what is read of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from connections.providers import images, problems, ranking, wire
from connections.providers.calls import Adjustment, Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import NOTHING, Abilities, Auth, EventReader, Provider, StaticHeaders
from connections.providers.errors import ProviderError
from connections.providers.fields import joined
from connections.providers.oauth import AccessToken
from connections.providers.openai_replies import ChunkReader, completion, packed, vectors
from connections.providers.parameters import COMMON, ParameterTable, Rule
from connections.providers.prompt_formats import PromptOptions
from connections.providers.settings import ProviderSettings, setting

PATHS: Mapping[Mode, str] = {
    Mode.CHAT: "chat/completions",
    Mode.COMPLETION: "completions",
    Mode.EMBEDDING: "embeddings",
    Mode.IMAGE: "images/generations",
    Mode.RERANK: "rerank",
}
READERS: Mapping[Mode, Callable[[bytes, Sequence[str]], Reply]] = {
    Mode.CHAT: completion,
    Mode.COMPLETION: completion,
    Mode.EMBEDDING: vectors,
    Mode.IMAGE: images.openai_reply,
    Mode.RERANK: ranking.openai_reply,
}
LENGTHS = ("max_tokens", "max_completion_tokens")
FOREIGN = frozenset({"top_k", "min_p", "repetition_penalty", "input_type"})
"""Common parameters that OpenAI itself never had."""


class DialectOptions(PromptOptions):
    """Each replaces what is known of the model."""

    drop: list[str] | None = setting(
        "Parameters to leave out", default=None, help="Names that this model refuses, one per line."
    )
    max_tokens: Literal["", "max_tokens", "max_completion_tokens"] = setting(
        "Name of the token limit", default="", help="Empty: what is known of the model."
    )
    system_role: Literal["", "system", "developer", "user"] = setting(
        "Role of instructions", default="", help="Empty: what is known of the model."
    )
    max_inputs: int | None = setting(
        "Texts in one request",
        default=None,
        help="The most texts that it embeds at once; more are split. Empty: what is known.",
        ge=1,
        le=2048,
    )


@dataclass(frozen=True, slots=True)
class Quirks:
    """How one model differs. An admin may override each by its name in the model's options."""

    drop: frozenset[str] = frozenset()
    """Parameters that it refuses."""
    max_tokens: str = "max_tokens"
    """What it calls `max_tokens` in chat."""
    system_role: str = "system"
    """The role of instructions, where it takes them under this one only."""

    def overridden(self, wishes: DialectOptions) -> "Quirks":
        return Quirks(
            drop=self.drop if wishes.drop is None else frozenset(wishes.drop),
            max_tokens=wishes.max_tokens or self.max_tokens,
            system_role=wishes.system_role or self.system_role,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of one model, worked out once."""

    options: DialectOptions
    quirks: Quirks
    table: ParameterTable
    in_responses: bool = False
    """Whether its chats go by the Responses API."""


class OpenAIDialect(Provider):
    """Everything but the settings. Subclasses say where the server is and how to sign in."""

    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING})
    parameters = ParameterTable.of(*(name for name in COMMON if name not in FOREIGN))
    ModelOptions: ClassVar[type[DialectOptions]] = DialectOptions
    embedding_ids: ClassVar[Sequence[str]] = ("embed",)
    """Parts of the ids of models that embed."""

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        self._auth = self.signing_in()
        self._headers = {"Content-Type": "application/json", **self.extra_headers()}
        self._urls = {mode: joined(self.base_url, path) for mode, path in PATHS.items()}
        self._secrets = self.secrets()
        self._known: dict[tuple[str, str, Mode, str], Known] = {}

    # --- what a subclass says ---

    @property
    def base_url(self) -> str:
        raise NotImplementedError

    def signing_in(self) -> Auth:
        return StaticHeaders(self.sign_in())

    def sign_in(self) -> Mapping[str, str]:
        """The headers that prove who we are, for subclasses with a key of their own."""
        raise NotImplementedError

    def extra_headers(self) -> Mapping[str, str]:
        return {}

    @property
    def takes_stream_options(self) -> bool:
        return True

    @property
    def packs_vectors(self) -> bool:
        """Whether the server gives vectors as numbers only: base64 is made of them here."""
        return False

    def quirks(self, target: Target) -> Quirks:
        """What is known of the model, before the admin's overrides."""
        return Quirks()

    # --- the contract ---

    @property
    def auth(self) -> Auth:
        return self._auth

    def secrets(self) -> list[str]:
        held = self._auth.secrets() if isinstance(self._auth, AccessToken) else []
        return [*super().secrets(), *held]

    def request(self, call: Call) -> Outgoing:
        body = {"model": call.target.upstream_id, **self.body(call)}
        return Outgoing("POST", self.url_of(call), self.headers_of(call), wire.encode(body))

    def url_of(self, call: Call) -> str:
        return self._urls[call.mode]

    def headers_of(self, call: Call) -> Mapping[str, str]:
        return self._headers

    def body(self, call: Call) -> dict[str, Any]:
        body = self.table_for(call).apply(call)
        role = self.knowledge_of(call.target).quirks.system_role
        if role != "system" and "messages" in body:
            body["messages"] = _with_instructions_as(role, wire.plain(body["messages"]))
        if self.packs_vectors and body.pop("encoding_format", None) is not None:
            call.adjusted.append(Adjustment("encoding_format", "applied by us"))
        if call.stream:
            body["stream"] = True
            if self.takes_stream_options:
                body["stream_options"] = {"include_usage": True}
        return body

    def reply(self, call: Call, answer: Answer) -> Reply:
        reply = READERS[call.mode](answer.body, self._secrets)
        packs = self.packs_vectors and wire.plain(call.body.get("encoding_format")) == "base64"
        return packed(reply, self._secrets) if packs else reply

    def events(self, call: Call) -> EventReader:
        return ChunkReader(self._secrets, call.wants_usage)

    def problem(self, answer: Answer) -> ProviderError:
        return problems.named(answer, self._secrets)

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self.base_url, "models"), self._headers)

    def knowledge_of(self, target: Target) -> Known:
        options = str(target.options) if target.options else ""
        key = (target.upstream_id, target.underlying, target.mode, options)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._learn(target)
        return known

    def _learn(self, target: Target) -> Known:
        return Known(self._options(target), self._quirks(target), self._table(target))

    def _options(self, target: Target) -> DialectOptions:
        return self.ModelOptions.stored(target.options)

    def _quirks(self, target: Target) -> Quirks:
        return self.quirks(target).overridden(self._options(target))

    def parameters_for(self, target: Target) -> ParameterTable:
        return self.knowledge_of(target).table

    def abilities(self, target: Target) -> Abilities:
        able, most = super().abilities(target), self.knowledge_of(target).options.max_inputs
        return able if most is None else replace(able, inputs=most)

    def table_for(self, call: Call) -> ParameterTable:
        """The table for one call, where more than the model decides."""
        return self.parameters_for(call.target)

    def _table(self, target: Target) -> ParameterTable:
        quirks, table = self._quirks(target), self.parameters
        if target.mode is Mode.CHAT:
            other = next(name for name in LENGTHS if name != quirks.max_tokens)
            table = table.changed(**{other: Rule(quirks.max_tokens)})
        return table.without(*quirks.drop)

    def models(self, answer: Answer) -> list[ModelInfo]:
        """Listed as `{"data": […]}`, or by some servers as a bare list."""
        content = wire.decode(wire.ANY, answer.body, self._secrets)
        listed = content.get("data", content.get("models")) if isinstance(content, dict) else content
        if not isinstance(listed, list):
            raise problems.unreadable(answer.body, self._secrets)
        found = [self.model(item if isinstance(item, dict) else {"id": item}) for item in listed]
        return [info for info in found if info is not None]

    def model(self, item: Mapping[str, Any]) -> ModelInfo | None:
        """What one item of the list says; None: nothing that we can call."""
        name = item.get("id") or item.get("name")
        if not isinstance(name, str):
            return None
        embeds = any(part in name.lower() for part in self.embedding_ids)
        context = item.get("max_model_len") or item.get("context_length")
        return ModelInfo(
            id=name,
            mode=Mode.EMBEDDING if embeds else Mode.CHAT,
            context=context if isinstance(context, int) else None,
        )


def _with_instructions_as(role: str, messages: Any) -> Any:
    """Some models know the developer's role only, some none at all for instructions."""
    known = {"system", "developer"}
    return [{**message, "role": role} if message.get("role") in known else message for message in messages]
