"""Mistral's dialect: OpenAI's shapes with fields of its own, and every other field is refused with 422."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from tests.upstream.openai import Chat, FunctionTool, ImageURL, OpenAI, Refused, Strict, TextPart, vector
from tests.upstream.wire import Plan, Request, Stream, Whole, dump, pieces

ID = re.compile(r"[A-Za-z0-9]{9}")


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: str | ImageURL


class Instructions(Strict):
    role: Literal["system"]
    content: str | list[TextPart]


class Asked(Strict):
    role: Literal["user"]
    content: str | Annotated[list[TextPart | ImagePart], Field(min_length=1)]


class Function(Strict):
    name: str
    arguments: str | dict[str, Any]


class Called(Strict):
    id: Annotated[str, Field(pattern="^[A-Za-z0-9]{9}$")]
    type: Literal["function"] = "function"
    function: Function


class Said(Strict):
    role: Literal["assistant"]
    content: str | list[TextPart] | None = None
    tool_calls: list[Called] | None = None
    prefix: bool | None = None


class Result(Strict):
    role: Literal["tool"]
    content: str | list[TextPart]
    tool_call_id: Annotated[str, Field(pattern="^[A-Za-z0-9]{9}$")]
    name: str | None = None


class Declared(FunctionTool):
    parameters: dict[str, Any]


class Tool(Strict):
    type: Literal["function"]
    function: Declared


class Chats(Strict):
    model: str
    messages: Annotated[
        list[Annotated[Instructions | Asked | Said | Result, Field(discriminator="role")]], Field(min_length=1)
    ]
    temperature: Annotated[float, Field(ge=0, le=1.5)] | None = None
    top_p: float | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    stream: bool | None = None
    stop: str | list[str] | None = None
    random_seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "any", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["high", "none"] | None = None
    safe_prompt: bool | None = None
    metadata: dict[str, Any] | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="after")
    def messages_are_in_order(self) -> "Chats":
        last = self.messages[-1]
        if isinstance(last, Said) and not last.prefix:
            raise ValueError("Expected last role User or Tool (or Assistant with prefix True) for serving")
        if any(isinstance(message, Instructions) for message in self.messages[1:]):
            raise ValueError("Unexpected role 'system' after the first message")
        return self


class Embeddings(Strict):
    model: str
    input: str | list[str]
    output_dimension: int | None = None
    output_dtype: str | None = None
    encoding_format: Literal["float", "base64"] | None = None


class Mistral:
    """Answers are OpenAI's, with ids of nine letters and the usage always on the last chunk."""

    base = "/v1"

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            if request.headers.get("authorization") != f"Bearer {key}":
                return Whole(401, dump({"detail": "Unauthorized"}))
            routes = {"/v1/chat/completions": (Chats, self._chat), "/v1/embeddings": (Embeddings, self._embed)}
            if request.method != "POST" or request.route not in routes:
                raise Refused(404, "no Route matched with those values")
            shape, answer = routes[request.route]
            body: Any = shape.model_validate_json(request.body)
            if not body.model.startswith(("mistral-", "codestral-")):
                raise Refused(400, f"Invalid model: {body.model}", "invalid_model")
            return answer(body, plan)
        except ValidationError as error:
            detail = [{"type": one["type"], "loc": ["body", *one["loc"]], "msg": one["msg"]} for one in error.errors()]
            return Whole(422, dump({"object": "error", "message": {"detail": detail}, "type": "invalid_request_error"}))
        except Refused as refusal:
            return self.refusal(refusal)

    def refusal(self, refused: Refused) -> Whole:
        error = {"object": "error", "message": refused.message, "type": refused.code or "error", "param": None}
        return Whole(refused.status, dump(error | {"code": "1500"}))

    def _chat(self, body: Chats, plan: Plan) -> Whole | Stream:
        """The answer of OpenAI's dialect to the same question."""
        plan.call_id = plan.call_id.replace("-", "")
        asked = body.model_dump(exclude_none=True, exclude={"random_seed", "safe_prompt"})
        for message in asked["messages"]:
            message.pop("prefix", None)
            for name in ("name",) if message["role"] == "tool" else ():
                message.pop(name, None)
        asked["stream_options"] = {"include_usage": True} if body.stream else None
        told = Chat.model_validate_json(dump({**asked, "model": "gpt-4o-mini"}))
        told.model = body.model
        answer = OpenAI()._chat(told, plan)
        if isinstance(answer, Whole):
            return Whole(answer.status, _with_own_ids(answer.body), answer.headers, answer.bill)
        for event in answer.events:
            event.data = _with_own_ids(event.data)
        return answer

    def _embed(self, body: Embeddings, plan: Plan) -> Whole:
        texts = [body.input] if isinstance(body.input, str) else body.input
        if body.output_dimension is not None and not body.model.startswith("codestral"):
            raise Refused(400, "This model does not support output_dimension.")
        rows = [
            {"object": "embedding", "index": place, "embedding": vector(text, body.output_dimension or 8)}
            for place, text in enumerate(texts)
        ]
        count = sum(len(pieces(text)) for text in texts)
        usage = {"prompt_tokens": count, "total_tokens": count, "completion_tokens": 0}
        return Whole(200, dump({"object": "list", "data": rows, "model": body.model, "usage": usage}))


def _with_own_ids(data: bytes) -> bytes:
    return re.sub(rb'"call_call(\d+)"', lambda found: b'"%s"' % found[1].rjust(9, b"A"), data)
