"""OpenAI's own models, whoever hosts them: what each takes, and by which of the APIs it answers."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, Literal

from msgspec import structs

from connections.providers import responses_replies, responses_requests, wire
from connections.providers.calls import JSON, Answer, Call, Mode, Reply, Target
from connections.providers.contract import Abilities, EventReader
from connections.providers.fields import joined
from connections.providers.openai_dialect import DialectOptions, Known, OpenAIDialect, Quirks
from connections.providers.openai_images import picture_model
from connections.providers.parameters import ParameterTable
from connections.providers.responses_replies import ResponseReader
from connections.providers.settings import setting

SAMPLED = frozenset(
    {"temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias", "n"}
)
"""What reasoning models refuse, unless they are told not to reason."""
LENGTH = "max_completion_tokens"

QUIRKS: Mapping[str, Quirks] = {
    "gpt-5-chat": Quirks(frozenset({"reasoning_effort", "verbosity"}), LENGTH),
    "o1-preview": Quirks(SAMPLED | {"tools", "response_format"}, LENGTH, system_role="user"),
    "o1-mini": Quirks(SAMPLED | {"tools", "response_format"}, LENGTH, system_role="user"),
    "gpt-35": Quirks(frozenset({"reasoning_effort", "verbosity"}), LENGTH),
    "gpt-3.5": Quirks(frozenset({"reasoning_effort", "verbosity"}), LENGTH),
    "gpt-4": Quirks(frozenset({"reasoning_effort", "verbosity"}), LENGTH),
    "o1": Quirks(SAMPLED, LENGTH),
    "o3": Quirks(SAMPLED | {"stop"}, LENGTH),
    "o4": Quirks(SAMPLED | {"stop"}, LENGTH),
    "gpt-5": Quirks(SAMPLED | {"stop"}, LENGTH),
    "gpt-6": Quirks(SAMPLED | {"stop"}, LENGTH),
}
"""By the beginning of a model's id; the first that fits counts."""


ELSEWHERE = re.compile(r"-pro\b|deep-research|computer-use|codex|cyber|daybreak|rosalind")
"""Models that answer on the Responses API only."""
NO_STREAM = ("o1-pro", "o3-pro", "gpt-5-pro")
"""Models that answer whole."""
SEARCHES: JSON = {"type": "web_search_preview"}


class FamilyOptions(DialectOptions):
    api: Literal["auto", "chat", "responses"] = setting(
        "API", default="auto", help="By which API chats are answered. auto: responses for models that know no other."
    )
    streams: Literal["auto", "yes", "no"] = setting(
        "Streams", default="auto", help="no: a stream gets the whole answer in one piece. auto: as known of the model."
    )
    web_search: bool = setting(
        "Search the web",
        default=False,
        help="On the Responses API: the model may look things up, which is billed. Models for deep research need it.",
    )


class OpenAIFamily(OpenAIDialect):
    """Subclasses say where the models are."""

    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE})
    ModelOptions: ClassVar[type[FamilyOptions]] = FamilyOptions

    def quirks(self, target: Target) -> Quirks:
        return quirks_of(target.known_as)

    def in_responses(self, target: Target) -> bool:
        """Whether a chat with this model goes by the Responses API."""
        return self.knowledge_of(target).in_responses

    def _learn(self, target: Target) -> Known:
        known = super()._learn(target)
        return replace(known, in_responses=_by_responses(target, known.options))

    def abilities(self, target: Target) -> Abilities:
        if target.mode is Mode.IMAGE:
            return Abilities(choices=picture_model(target.known_as).choices)
        able, options = super().abilities(target), self.knowledge_of(target).options
        wish = options.streams if isinstance(options, FamilyOptions) else "auto"
        silent = wish == "no" or (wish == "auto" and target.known_as.startswith(NO_STREAM))
        return replace(able, streams=False) if silent else able

    # --- requests ---

    def responses_url(self) -> str:
        return joined(self.base_url, "responses")

    def url_of(self, call: Call) -> str:
        return self.responses_url() if self.in_responses(call.target) else super().url_of(call)

    def body(self, call: Call) -> dict[str, Any]:
        if call.mode is Mode.IMAGE:
            return picture_model(call.target.known_as).fitted(call, super().body(call))
        return self._response_body(call) if self.in_responses(call.target) else super().body(call)

    def _response_body(self, call: Call) -> JSON:
        body = responses_requests.body_of(call, self.table_for(call))
        options = self.knowledge_of(call.target).options
        if isinstance(options, FamilyOptions) and options.web_search:
            body["tools"] = [*body.get("tools", ()), SEARCHES]
        return {**body, "stream": True} if call.stream else body

    def _table(self, target: Target) -> ParameterTable:
        if target.mode is Mode.IMAGE:
            table = picture_model(target.known_as).table
        elif target.mode is Mode.EMBEDDING and target.known_as.startswith("text-embedding-ada"):
            table = self.parameters.without("dimensions")
        elif _by_responses(target, self._options(target)):
            table = responses_requests.TABLE
        else:
            return super()._table(target)
        return table.without(*self._quirks(target).drop)

    def table_for(self, call: Call) -> ParameterTable:
        """Newer reasoning models take the sampling parameters while they do not reason."""
        known = self.knowledge_of(call.target)
        if wire.plain(call.body.get("reasoning_effort")) != "none" or known.options.drop is not None:
            return known.table
        rules = (responses_requests.TABLE if self.in_responses(call.target) else self.parameters).rules
        return known.table.changed(**{name: rule for name, rule in rules.items() if name in SAMPLED})

    # --- answers ---

    def reply(self, call: Call, answer: Answer) -> Reply:
        if self.in_responses(call.target):
            return responses_replies.completion(answer.body, self._secrets)
        reply = super().reply(call, answer)
        if call.mode is not Mode.IMAGE:
            return reply
        named = picture_model(call.target.known_as).price_class(call)
        return structs.replace(reply, usage=structs.replace(reply.usage, image_class=named))

    def events(self, call: Call) -> EventReader:
        if self.in_responses(call.target):
            return ResponseReader(self._secrets, call.wants_usage)
        return super().events(call)


def quirks_of(name: str) -> Quirks:
    return quirks_if_known(name) or Quirks(max_tokens=LENGTH)


@cache
def quirks_if_known(name: str) -> Quirks | None:
    """Also of a model that was fine-tuned: `ft:gpt-4o:company::id`."""
    name = name.removeprefix("ft:")
    return next((quirks for start, quirks in QUIRKS.items() if name.startswith(start)), None)


def _by_responses(target: Target, options: DialectOptions) -> bool:
    api = options.api if isinstance(options, FamilyOptions) else "auto"
    return target.mode is Mode.CHAT and (api == "responses" or (api == "auto" and _elsewhere(target.known_as)))


@cache
def _elsewhere(name: str) -> bool:
    return bool(ELSEWHERE.search(name))
