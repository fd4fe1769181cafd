"""vLLM: OpenAI's routes, many more parameters, and two generations of structured output and of errors."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import structs

from connections.providers import problems, ranking, wire
from connections.providers.calls import JSON, Adjustment, Answer, Call, Frame, Mode, Outgoing, Reply
from connections.providers.contract import EventReader
from connections.providers.fields import OpenAIUrl, joined
from connections.providers.openai_dialect import DialectOptions
from connections.providers.openai_replies import ChunkReader
from connections.providers.own_server import OwnServer, ServerSettings, server_address
from connections.providers.parameters import COMMON, ParameterTable
from connections.providers.settings import setting

REFUSED = frozenset({"store", "prompt_cache_key", "safety_identifier", "verbosity", "service_tier", "input_type"})
SAMPLING = (
    *("length_penalty", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "min_tokens", "bad_words"),
    *("skip_special_tokens", "prompt_logprobs", "use_beam_search", "truncate_prompt_tokens", "allowed_token_ids"),
)
CHATTING = (
    *("add_generation_prompt", "continue_final_message", "chat_template", "chat_template_kwargs", "documents"),
    *("mm_processor_kwargs", "priority", "cache_salt", "include_reasoning"),
)
GUIDED = ("json", "regex", "choice", "grammar")
"""What an answer can be held to: `guided_json` … before version 0.12, fields of `structured_outputs` since."""
DEFAULTS = {"temperature": 1, "top_p": 1}


class VLLMOptions(DialectOptions):
    rank_by: Literal["rerank", "score"] = setting(
        "Reranking route", default="rerank", help="score: for older servers, which have /score only.", advanced=True
    )


class VLLM(OwnServer):
    kind = "vllm"
    label = "vLLM"
    summary = "The fast server for open models on GPUs of your own."
    mark = "vllm"
    order = 50
    docs_url = "https://docs.vllm.ai"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.RERANK})
    ModelOptions = VLLMOptions
    parameters = ParameterTable.of(
        *(name for name in COMMON if name not in REFUSED),
        *SAMPLING,
        *CHATTING,
        *("structured_outputs", *(f"guided_{name}" for name in GUIDED), "guided_whitespace_pattern", "top_n"),
    )

    class Settings(ServerSettings):
        base_url: OpenAIUrl = server_address(
            "http://vllm.internal:8000", "Where vllm serve listens. Without any path, /v1 is added."
        )
        version: Literal["new", "old"] = setting(
            "Server version",
            default="new",
            help="new: 0.12 and later, with structured_outputs. old: earlier ones, with guided_json and its kin.",
        )
        sampling: Literal["model", "plain"] = setting(
            "Sampling that is left open",
            default="model",
            help="model: what the model's own files recommend. plain: temperature 1 and top_p 1, as at OpenAI.",
            advanced=True,
        )
        continuous_usage: bool = setting(
            "Usage in every chunk",
            default=False,
            help="Streams that are left early are then counted exactly; each chunk gets a little longer.",
            advanced=True,
        )

    settings: Settings

    def request(self, call: Call) -> Outgoing:
        outgoing = super().request(call)
        return structs.replace(outgoing, url=joined(self.base_url, "score")) if self._scores(call) else outgoing

    def body(self, call: Call) -> JSON:
        body = super().body(call)
        if self._scores(call):
            body["text_1"], body["text_2"] = body.pop("query"), body.pop("documents")
            return body
        if call.mode in {Mode.CHAT, Mode.COMPLETION}:
            _hold(call, body) if self.settings.version == "new" else _guide(call, body)
            self._fill(call, body)
        if call.stream and self.settings.continuous_usage:
            body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        return body

    def _scores(self, call: Call) -> bool:
        return call.mode is Mode.RERANK and VLLMOptions.stored(call.target.options).rank_by == "score"

    def _fill(self, call: Call, body: JSON) -> None:
        """The server would use what the model's files recommend."""
        for name, value in DEFAULTS.items() if self.settings.sampling == "plain" else ():
            if name not in body:
                body[name] = value
                call.adjusted.append(Adjustment(name, f"set to {value}"))

    def reply(self, call: Call, answer: Answer) -> Reply:
        _check(answer.body, self._secrets)
        return _scored(call, answer, self._secrets) if self._scores(call) else super().reply(call, answer)

    def events(self, call: Call) -> EventReader:
        return Chunks(self._secrets, call.wants_usage)


class Chunks(ChunkReader):
    def feed(self, frame: Frame) -> Sequence[bytes]:
        _check(frame.data, self._secrets)
        return super().feed(frame)


def _check(data: bytes, secrets: Sequence[str]) -> None:
    """Older servers tell an error in the object itself: `{"object": "error", "message": …}`."""
    if b'"error"' not in data[:40]:
        return
    content = wire.decode(wire.ANY, data, secrets)
    if isinstance(content, dict) and content.get("object") == "error":
        raise problems.inside(content, secrets)


def _hold(call: Call, body: JSON) -> None:
    """The older names of structured output under the newer one."""
    for name in GUIDED:
        if f"guided_{name}" in body:
            given = body.setdefault("structured_outputs", {})
            given[name] = body.pop(f"guided_{name}")
            call.adjusted.append(Adjustment(f"guided_{name}", f"renamed to structured_outputs.{name}"))
    if body.pop("guided_whitespace_pattern", None) is not None:
        call.adjusted.append(Adjustment("guided_whitespace_pattern", "dropped"))


def _guide(call: Call, body: JSON) -> None:
    """The newer form of structured output under the older names."""
    given = wire.plain(body.pop("structured_outputs", None))
    for name, value in given.items() if isinstance(given, dict) else ():
        what = f"renamed to guided_{name}" if name in GUIDED else "dropped"
        call.adjusted.append(Adjustment(f"structured_outputs.{name}", what))
        if name in GUIDED:
            body[f"guided_{name}"] = value


class _Score(msgspec.Struct):
    index: int
    score: float


class _Scores(msgspec.Struct):
    data: list[_Score]
    usage: Any = None
    model: Any = None
    error: Any = None


_SCORES = msgspec.json.Decoder(_Scores)


def _scored(call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
    whole = wire.decode(_SCORES, answer.body, secrets)
    told = whole.usage if isinstance(whole.usage, dict) else {}
    usage = wire.usage(told.get("prompt_tokens", told.get("total_tokens")), 0)
    best = sorted(whole.data, key=lambda score: -score.score)[: wire.plain(call.body.get("top_n"))]
    return ranking.reply_of([(one.index, one.score) for one in best], usage, str(whole.model or "")[:300])
