"""MonsterAPI: chats in OpenAI's dialect; completions and pictures as processes that are asked after."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers import images, problems, text_generation, wire
from connections.providers.bearer import BearerDialect, BearerSettings, own_address
from connections.providers.calls import (
    JSON,
    Adjustment,
    Answer,
    Call,
    Mode,
    ModelInfo,
    Outgoing,
    Pause,
    Reply,
    Steps,
    Target,
    Usage,
)
from connections.providers.contract import Abilities
from connections.providers.errors import ProviderError
from connections.providers.fields import OpenAIUrl, in_path, joined
from connections.providers.images import Picture
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.settings import setting
from connections.providers.shapes import completion_reply

EVERY = 1.0
OVER = frozenset({"completed", "failed"})
RATIOS: Mapping[str, str] = {"1:1": "square", "16:9": "landscape", "9:16": "portrait"}
TEXT = ParameterTable.of(
    *("top_k", "top_p", "repetition_penalty", "beam_size"),
    temperature=Rule("temp", maximum=1),
    max_tokens=Rule("max_length"),
)
PICTURE = ParameterTable.of(
    *("aspect_ratio", "size", "seed"),
    negative_prompt=Rule("negprompt"),
    cfg_scale=Rule("guidance_scale"),
    steps=Rule(minimum=30, maximum=500),
)
TABLES = {Mode.COMPLETION: TEXT, Mode.IMAGE: PICTURE}
WHOLE = Abilities(streams=False, choices=1, prompts=1)


class MonsterAPI(BearerDialect):
    kind = "monsterapi"
    label = "MonsterAPI"
    summary = "Open models for text and pictures, and deployments of your own."
    mark = "monsterapi"
    docs_url = "https://developer.monsterapi.ai"
    price_provider = "monsterapi"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.IMAGE})

    class Settings(BearerSettings):
        base_url: OpenAIUrl = own_address(
            "https://llm.monsterapi.ai/v1",
            "For chats; change it for a deployment of your own (https://….monsterapi.ai).",
        )
        process_url: OpenAIUrl = setting(
            "Process URL",
            default="https://api.monsterapi.ai/v1",
            help="For completions and pictures, which run as processes.",
            target=True,
            advanced=True,
            min_length=1,
        )

    settings: Settings

    def request(self, call: Call) -> Outgoing:
        if call.mode is Mode.CHAT:
            return super().request(call)
        body = self.table_for(call).apply(call)
        body["prompt"] = text_generation.text_of(body["prompt"])
        if call.mode is Mode.IMAGE:
            _measure(call, body)
        url = joined(self.settings.process_url, f"generate/{in_path(call.target.upstream_id)}")
        return Outgoing("POST", url, self._headers, wire.encode(body))

    def steps(self, call: Call) -> Steps[Reply]:
        if call.mode is Mode.CHAT:
            return (yield from super().steps(call))
        answer: Answer = yield self.request(call)
        number = _process(self._read(answer), answer, self._secrets)
        while True:
            yield Pause(EVERY)
            answer = yield Outgoing("GET", joined(self.settings.process_url, f"status/{number}"))
            if _state(self._read(answer)) in OVER:
                return self.reply(call, answer)

    def _read(self, answer: Answer) -> JSON:
        if answer.status >= 300:
            raise self.problem(answer)
        content = wire.decode(wire.ANY, answer.body, self._secrets)
        return content if isinstance(content, dict) else {}

    def reply(self, call: Call, answer: Answer) -> Reply:
        if call.mode is Mode.CHAT:
            return super().reply(call, answer)
        content = self._read(answer)
        if _state(content) != "completed":
            raise _failure(content, answer, self._secrets)
        reply = _result(call, content.get("result"))
        if reply is None:
            raise problems.unreadable(answer.body, self._secrets)
        return reply

    def _table(self, target: Target) -> ParameterTable:
        return TABLES.get(target.mode) or super()._table(target)

    def abilities(self, target: Target) -> Abilities:
        return super().abilities(target) if target.mode is Mode.CHAT else WHOLE

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self.base_url, "models/info"), self._headers)

    def models(self, answer: Answer) -> list[ModelInfo]:
        """`/models/info` tells the contexts by name."""
        told = self._read(answer).get("maximum_context_length")
        lengths = told.items() if isinstance(told, dict) else ()
        return [ModelInfo(name, context=length if isinstance(length, int) else None) for name, length in lengths]


def _measure(call: Call, body: JSON) -> None:
    """A picture is square, landscape or portrait."""
    size, ratio = images.size_of(body.pop("size", None)), body.pop("aspect_ratio", None)
    if isinstance(ratio, str) and re.fullmatch(r"\d{1,4}:\d{1,4}", ratio) and size is None:
        across, down = map(int, ratio.split(":"))
        size = (across, down) if across and down else None
    if size is not None:
        body["aspect_ratio"] = RATIOS[images.nearest_ratio(size, RATIOS)]
    for name in ("size", "aspect_ratio"):
        if call.body.get(name) is not None:
            shape = body.get("aspect_ratio")
            call.adjusted.append(Adjustment(name, f"sent as {shape}" if shape else "dropped"))


def _process(content: JSON, answer: Answer, secrets: Sequence[str]) -> str:
    number = content.get("process_id")
    if not isinstance(number, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", number):
        raise _failure(content, answer, secrets)
    return number


def _state(content: JSON) -> str:
    """In capitals or not, as it pleases the service."""
    return str(content.get("status") or "").lower()


def _failure(content: JSON, answer: Answer, secrets: Sequence[str]) -> ProviderError:
    result = content.get("result")
    said = result.get("errorMessage") if isinstance(result, dict) else None
    said = said or content.get("error") or content.get("message")
    if not said and _state(content) != "failed":
        return problems.unreadable(answer.body, secrets)
    return problems.inside({"error": {"message": str(said or "The process failed.")}}, secrets)


def _result(call: Call, result: Any) -> Reply | None:
    """The text or the pictures; None: neither."""
    found = result if isinstance(result, dict) else {}
    model = call.target.upstream_id
    if call.mode is Mode.IMAGE:
        urls = found.get("output")
        urls = urls if isinstance(urls, list) and all(isinstance(url, str) for url in urls) else []
        return images.reply_of([Picture(url=url) for url in urls], Usage(), model) if urls else None
    text = found.get("text")
    return completion_reply([(text, "stop")], Usage(), model=model) if isinstance(text, str) else None
