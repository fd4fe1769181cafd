"""Clarifai's own wire: inputs and outputs of any kind of model, and a status code inside every answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import structs

from connections.providers import feature_extraction, images, problems, text_generation, wire
from connections.providers.calls import JSON, Answer, Call, Mode, Outgoing, Reply, Usage
from connections.providers.contract import StaticHeaders
from connections.providers.errors import ProviderError
from connections.providers.images import Picture
from connections.providers.parameters import ParameterTable

SUCCESS = 10000
STATUSES: Mapping[int, int] = {
    10010: 500,
    10030: 503,
    11000: 402,
    11003: 429,
    11004: 402,
    11005: 429,
    11006: 429,
    11101: 404,
    21200: 404,
    21201: 403,
    21202: 400,
    21203: 400,
}
"""The HTTP status that fits a status code."""
REFUSED_KEYS = frozenset({11001, 11002, 11007, 11008, 11009})
STARTING = range(21351, 21356)
"""The model is being deployed or loaded, or it is busy."""
TEXT = ParameterTable.of("temperature", "top_p", "top_k", "max_tokens", "seed")
PICTURE = ParameterTable.of("negative_prompt", "steps", "cfg_scale", "seed")
VECTOR = ParameterTable.of()
TABLES: Mapping[Mode, ParameterTable] = {Mode.COMPLETION: TEXT, Mode.IMAGE: PICTURE, Mode.EMBEDDING: VECTOR}


@dataclass(frozen=True, slots=True)
class PersonalToken(StaticHeaders):
    """One token under two names: `Bearer` for OpenAI's routes, `Key` for Clarifai's own."""

    def sign(self, outgoing: Outgoing) -> Outgoing:
        signed = StaticHeaders.sign(self, outgoing)
        if "/ext/openai/" in outgoing.url:
            return signed
        key = self.values["Authorization"].replace("Bearer ", "Key ", 1)
        return structs.replace(signed, headers={**signed.headers, "Authorization": key})


def body(call: Call, user: str, app: str) -> JSON:
    given = TABLES[call.mode].apply(call)
    prompt = given.pop("input", None) or given.pop("prompt")
    texts = feature_extraction.texts_of(call) if call.mode is Mode.EMBEDDING else [text_generation.text_of(prompt)]
    content: JSON = {
        "user_app_id": {"user_id": user, "app_id": app},
        "inputs": [{"data": {"text": {"raw": text}}} for text in texts],
    }
    if given:
        content["model"] = {"model_version": {"output_info": {"params": given}}}
    return content


# --- answers ---------------------------------------------------------------------------------------------


class _Status(msgspec.Struct):
    code: int = 0


class _Output(msgspec.Struct):
    data: Any = None
    status: _Status = msgspec.field(default_factory=_Status)
    prompt_tokens: Any = None
    completion_tokens: Any = None


class _Whole(msgspec.Struct):
    status: _Status
    outputs: list[_Output] = []


_WHOLE = msgspec.json.Decoder(_Whole)


def reply(call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
    whole = wire.decode(_WHOLE, answer.body, secrets)
    if whole.status.code != SUCCESS:
        raise problem(answer, secrets)
    found = [one.data for one in whole.outputs if isinstance(one.data, dict)]
    if not found or len(found) != len(whole.outputs):
        raise problems.unreadable(answer.body, secrets)
    usage = _usage(whole.outputs)
    try:
        return _READERS[call.mode](call, found, usage)
    except (LookupError, TypeError) as error:
        raise problems.unreadable(answer.body, secrets) from error


def _usage(outputs: Sequence[_Output]) -> Usage:
    """Zero tokens of a prompt means that the model does not count them."""
    usage = wire.usage(0, 0)
    for output in outputs:
        usage += wire.usage(output.prompt_tokens or None, output.completion_tokens)
    return usage


def _text(call: Call, found: Sequence[JSON], usage: Usage) -> Reply:
    model, text = call.target.upstream_id, found[0]["text"]["raw"]
    choice = {"index": 0, "text": str(text), "logprobs": None, "finish_reason": "stop"}
    told = {} if usage.prompt_tokens is None else {"usage": usage.as_openai()}
    content = {"object": "text_completion", "model": model, "choices": [choice], **told}
    return Reply(wire.encode(content), usage, "stop", model)


def _pictures(call: Call, found: Sequence[JSON], usage: Usage) -> Reply:
    given = [one["image"] for one in found]
    pictures = [Picture(str(one.get("base64") or ""), str(one.get("url") or "")) for one in given]
    return images.reply_of(pictures, structs.replace(usage, completion_tokens=0), call.target.upstream_id)


def _vectors(call: Call, found: Sequence[JSON], usage: Usage) -> Reply:
    vectors = [list(map(float, one["embeddings"][0]["vector"])) for one in found]
    data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    usage, model = structs.replace(usage, completion_tokens=0), call.target.upstream_id
    told = {} if usage.prompt_tokens is None else {"usage": usage.as_openai()}
    return Reply(wire.encode({"object": "list", "data": data, "model": model, **told}), usage, "stop", model)


_READERS = {Mode.COMPLETION: _text, Mode.IMAGE: _pictures, Mode.EMBEDDING: _vectors}


def problem(answer: Answer, secrets: Sequence[str]) -> ProviderError:
    """What a status code amounts to, whatever HTTP says; the code of a part before that of the whole."""
    content = wire.fields(answer.body)
    parts = content.get("outputs")
    codes = [_code(one) for one in parts if isinstance(one, dict)] if isinstance(parts, list) else []
    code = next((one for one in codes if one not in {0, SUCCESS}), _code(content))
    status = _status_of(code, answer.status)
    error = problems.named(Answer(status, answer.headers, answer.body), secrets)
    error.status = answer.status if answer.status >= 300 else None
    return error


def _status_of(code: int, status: int) -> int:
    if code in REFUSED_KEYS:
        return 401
    if code in STARTING:
        return 503
    return STATUSES.get(code, status if status >= 300 else 500)


def _code(content: Mapping[str, Any]) -> int:
    status = content.get("status")
    code = status.get("code") if isinstance(status, dict) else None
    return code if isinstance(code, int) else 0
