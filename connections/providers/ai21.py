"""AI21: Jamba chats in OpenAI's dialect, and the completions of its retired Jurassic models."""

from typing import Any

import msgspec

from connections.providers import problems, text_generation, wire
from connections.providers.bearer import BearerDialect, BearerSettings, own_address
from connections.providers.calls import JSON, Adjustment, Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import Abilities
from connections.providers.errors import KeyRefused, ProviderError
from connections.providers.fields import OpenAIUrl, in_path, joined
from connections.providers.parameters import ParameterTable, Rule

CAN = frozenset({"tools", "system"})
JURASSIC = ParameterTable.of(
    "temperature",
    "presence_penalty",
    "frequency_penalty",
    max_tokens=Rule("maxTokens"),
    top_p=Rule("topP"),
    stop=Rule("stopSequences"),
    n=Rule("numResults"),
)
PENALTIES = {"presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty"}
REASONS = {"endoftext": "stop"}
WHOLE = Abilities(streams=False, choices=16, prompts=1)


def _jurassic(name: str) -> ModelInfo:
    return ModelInfo(
        name, Mode.COMPLETION, family="jurassic", lifecycle="retired", ends="2024", replacement="jamba-mini"
    )


class AI21(BearerDialect):
    kind = "ai21"
    label = "AI21"
    summary = "Jamba models with long contexts."
    mark = "ai21"
    docs_url = "https://studio.ai21.com/account/api-key"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION})
    takes_stream_options = False
    parameters = ParameterTable.of(
        *("temperature", "top_p", "stop", "tools", "response_format", "documents"),
        max_tokens=Rule(maximum=4096),
    )
    catalogue = (
        ModelInfo("jamba-large", family="jamba", context=256_000, max_output=4096, capabilities=CAN),
        ModelInfo("jamba-mini", family="jamba", context=256_000, max_output=4096, capabilities=CAN),
        ModelInfo("jamba-large-1.7", family="jamba", context=256_000, max_output=4096, capabilities=CAN),
        ModelInfo("jamba-mini-1.7", family="jamba", context=256_000, max_output=4096, capabilities=CAN),
        ModelInfo("jamba-large-1.6", family="jamba", lifecycle="deprecated", replacement="jamba-large"),
        ModelInfo("jamba-mini-1.6", family="jamba", lifecycle="deprecated", replacement="jamba-mini"),
        _jurassic("j2-ultra"),
        _jurassic("j2-mid"),
        _jurassic("j2-light"),
    )

    class Settings(BearerSettings):
        base_url: OpenAIUrl = own_address("https://api.ai21.com/studio/v1")

    settings: Settings

    def request(self, call: Call) -> Outgoing:
        if call.mode is not Mode.COMPLETION:
            return super().request(call)
        url = joined(self.base_url, f"{in_path(call.target.upstream_id)}/complete")
        return Outgoing("POST", url, self._headers, wire.encode(_complete(call)))

    def body(self, call: Call) -> JSON:
        body = super().body(call)
        if isinstance(stop := wire.plain(body.get("stop")), str):
            body["stop"] = [stop]
        form = wire.plain(body.get("response_format"))
        if isinstance(form, dict) and form.get("type") == "json_schema":
            body["response_format"] = {"type": "json_object"}
            call.adjusted.append(Adjustment("response_format", "sent as json_object, without the schema"))
        return body

    def reply(self, call: Call, answer: Answer) -> Reply:
        if call.mode is not Mode.COMPLETION:
            return super().reply(call, answer)
        return _completed(call, answer, self._secrets)

    def _table(self, target: Target) -> ParameterTable:
        if target.mode is Mode.COMPLETION:
            return JURASSIC
        return super()._table(target).changed(max_completion_tokens=Rule("max_tokens", maximum=4096))

    def abilities(self, target: Target) -> Abilities:
        return WHOLE if target.mode is Mode.COMPLETION else super().abilities(target)

    def check_problem(self, answer: Answer) -> ProviderError | None:
        """Without a valid key the list of models is empty, and nothing else tells."""
        problem = super().check_problem(answer)
        if problem is None and wire.decode(_LIST, answer.body, self._secrets).data != []:
            return None
        return problem or KeyRefused("AI21 listed no models, which means that it did not accept the key.", status=200)


class _List(msgspec.Struct):
    data: Any = None


_LIST = msgspec.json.Decoder(_List)


# --- Jurassic --------------------------------------------------------------------------------------------


def _complete(call: Call) -> JSON:
    body = JURASSIC.apply(call)
    body["prompt"] = text_generation.text_of(body["prompt"])
    if isinstance(stop := wire.plain(body.get("stopSequences")), str):
        body["stopSequences"] = [stop]
    for name, new in PENALTIES.items():
        if name in body:
            body[new] = {"scale": body.pop(name)}
            call.adjusted.append(Adjustment(name, f"renamed to {new}"))
    return body


class _Text(msgspec.Struct):
    text: str = ""
    tokens: list[Any] = []


class _Reason(msgspec.Struct):
    reason: str = ""


class _Completion(msgspec.Struct):
    data: _Text
    finishReason: _Reason = msgspec.field(default_factory=_Reason)  # noqa: N815 - the wire's own name


class _Whole(msgspec.Struct):
    prompt: _Text
    completions: list[_Completion]


_WHOLE = msgspec.json.Decoder(_Whole)


def _completed(call: Call, answer: Answer, secrets: list[str]) -> Reply:
    """There is no usage: the tokens themselves are listed."""
    if text_generation.says_error(answer.body):
        raise problems.inside(wire.decode(wire.ANY, answer.body, secrets), secrets)
    whole = wire.decode(_WHOLE, answer.body, secrets)
    if not whole.completions:
        raise problems.unreadable(answer.body, secrets)
    choices: list[JSON] = []
    for place, one in enumerate(whole.completions):
        reason = REASONS.get(one.finishReason.reason, one.finishReason.reason) or "stop"
        choices.append({"index": place, "text": one.data.text, "logprobs": None, "finish_reason": reason})
    usage = wire.usage(len(whole.prompt.tokens), sum(len(one.data.tokens) for one in whole.completions))
    model = call.target.upstream_id
    body = {"object": "text_completion", "model": model, "choices": choices, "usage": usage.as_openai()}
    return Reply(wire.encode(body), usage, choices[0]["finish_reason"], model)
