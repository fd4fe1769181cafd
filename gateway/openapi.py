"""What the OpenAPI document cannot know by itself: the routes of `/v1`, and how a request is refused."""

from typing import Any

from connections.providers.calls import Mode
from connections.providers.parameters import KNOWN, Parameter
from gateway import bodies, idempotency
from gateway.envelope import KINDS
from gateway.http import MODELS, MODES

SUMMARIES = {
    Mode.CHAT: "Chat with a model",
    Mode.COMPLETION: "Complete a text",
    Mode.EMBEDDING: "Embed texts",
    Mode.IMAGE: "Make pictures",
    Mode.RERANK: "Order documents by how well they answer a query",
}
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
CONTENT: dict[str, Any] = {
    "messages": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
    "prompt": {"oneOf": [TEXT, TEXTS]},
    "input": {"oneOf": [TEXT, TEXTS]},
    "query": TEXT,
    "documents": TEXTS,
}
TYPES: dict[str, dict[str, Any]] = {
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "string": TEXT,
    "list": {"oneOf": [TEXT, {"type": "array", "items": {}}]},
    "object": {"type": "object", "additionalProperties": True},
    "any": {},
}
ANSWER = {"description": "The answer in OpenAI's form", "content": {"application/json": {"schema": TYPES["object"]}}}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": idempotency.LONGEST_KEY},
    "description": "Sent again with the same body within 24 hours, the call is not made again: the answer is the first "
    "one, with `idempotent-replayed: true`. 422 for another body, 409 while the first is being answered.",
}
ERROR = {
    "type": "object",
    "properties": {
        "message": {**TEXT, "maxLength": 500},
        "type": {**TEXT, "enum": sorted({kind.type for kind in KINDS.values()} | {"conflict_error"})},
        "param": {**TEXT, "nullable": True, "description": "The field that it is about"},
        "code": TEXT,
        "request_id": TEXT,
    },
    "required": ["message", "type", "param", "code", "request_id"],
    "additionalProperties": False,
}
REFUSAL = {"type": "object", "properties": {"error": ERROR}, "required": ["error"], "additionalProperties": False}
REFUSED = {
    "description": "Why not. `x-should-retry` says whether it makes sense to ask again, `retry-after` when.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
}
VERBS = {"get", "post", "put", "patch", "delete"}


def add_v1(result: Any, generator: Any, request: Any, public: bool) -> Any:
    """A postprocessing hook of drf-spectacular."""
    for path, mode in MODES.items():
        result["paths"][path] = {"post": _asking(mode)}
    result["paths"][MODELS] = {"get": _operation("v1_models", "The models one may use")}
    return result


def add_refusals(result: Any, generator: Any, request: Any, public: bool) -> Any:
    """A postprocessing hook: all of `/api` and `/v1` refuse in one shape."""
    result["components"]["schemas"]["Refusal"] = REFUSAL
    for path in result["paths"].values():
        for verb in VERBS & set(path):
            path[verb]["responses"].setdefault("default", REFUSED)
    return result


def _asking(mode: Mode) -> dict[str, Any]:
    body = {"content": {"application/json": {"schema": _body(mode)}}, "required": True}
    return {**_operation(f"v1_{mode}", SUMMARIES[mode]), "parameters": [IDEMPOTENCY_KEY], "requestBody": body}


def _operation(name: str, summary: str) -> dict[str, Any]:
    responses = {"200": ANSWER}
    return {"operationId": name, "summary": summary, "tags": ["v1"], "responses": responses}


def _body(mode: Mode) -> dict[str, Any]:
    content = bodies.CONTENT_OF[mode]
    properties: dict[str, Any] = {"model": TEXT}
    properties |= {name: TEXT if (mode, name) == (Mode.IMAGE, "prompt") else CONTENT[name] for name in content}
    properties |= {name: _parameter(parameter) for name, parameter in KNOWN[mode].items()}
    if mode in bodies.STREAMED:
        properties |= {"stream": TYPES["boolean"], "stream_options": TYPES["object"]}
    return {"type": "object", "properties": properties, "required": ["model", *content]}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    bounds = {"minimum": parameter.minimum, "maximum": parameter.maximum, "description": parameter.help or None}
    return {**TYPES[parameter.kind], **{name: bound for name, bound in bounds.items() if bound is not None}}
