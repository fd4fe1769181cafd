"""Anthropic's dialect: `/v1/messages` with named events, `anthropic-version` and `max_tokens` needed."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from tests.upstream.openai import Refused, Strict, cut
from tests.upstream.wire import ABSENT, AS_COUNTED, Bill, Event, Plan, Request, Stream, Whole, dump, pieces, sample, sse

MODELS = ("claude-sonnet-5-5", "claude-haiku-5-5", "claude-sonnet-4-6")
VERSIONS = {"2023-06-01", "2026-10-21"}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class Text(Strict):
    type: Literal["text"]
    text: Annotated[str, Field(min_length=1)]
    cache_control: dict[str, Any] | None = None


class Source(Strict):
    type: Literal["base64", "url"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"] | None = None
    data: str | None = None
    url: Annotated[str, Field(pattern="^https://")] | None = None


class Image(Strict):
    type: Literal["image"]
    source: Source


class ToolUse(Strict):
    type: Literal["tool_use"]
    id: Annotated[str, Field(pattern="^[a-zA-Z0-9_-]+$")]
    name: str
    input: dict[str, Any]


class ToolResult(Strict):
    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[Text | Image] | None = None
    is_error: bool | None = None


Block = Annotated[Text | Image | ToolUse | ToolResult, Field(discriminator="type")]


class Message(Strict):
    role: Literal["user", "assistant"]
    content: Annotated[str, Field(min_length=1)] | Annotated[list[Block], Field(min_length=1)]


class Tool(Strict):
    name: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,128}$")]
    description: str | None = None
    input_schema: dict[str, Any]
    cache_control: dict[str, Any] | None = None


class ToolChoice(Strict):
    type: Literal["auto", "any", "none", "tool"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Format(Strict):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Strict):
    format: Format | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class Metadata(Strict):
    user_id: str | None = None


class Messages(Strict):
    model: str
    max_tokens: Annotated[int, Field(ge=1)]
    messages: Annotated[list[Message], Field(min_length=1)]
    system: str | list[Text] | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: dict[str, Any] | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None

    @model_validator(mode="after")
    def turns_are_in_order(self) -> "Messages":
        if self.messages[0].role != "user":
            raise ValueError('messages: first message must use the "user" role')
        last = self.messages[-1]
        if last.role == "assistant" and isinstance(last.content, str) and last.content != last.content.rstrip():
            raise ValueError("messages: final assistant content cannot end with trailing whitespace")
        if any(not sequence.strip() for sequence in self.stop_sequences or []):
            raise ValueError("stop_sequences: each stop sequence must contain non-whitespace")
        called: set[str] = set()
        for message in self.messages:
            for block in message.content if isinstance(message.content, list) else []:
                if isinstance(block, ToolUse):
                    called.add(block.id)
                elif isinstance(block, ToolResult) and block.tool_use_id not in called:
                    raise ValueError(f"unexpected `tool_use_id` found in `tool_result` blocks: {block.tool_use_id}")
        return self


class Complete(Strict):
    """What the old route for texts takes."""

    model: Annotated[str, Field(pattern="^claude-(1|2|instant)")]
    prompt: Annotated[str, Field(pattern=r"(?s)^.*\n\nHuman:.*\n\nAssistant:[^\n]*$")]
    max_tokens_to_sample: Annotated[int, Field(ge=1)]
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    stream: bool | None = None
    metadata: Metadata | None = None


class Anthropic:
    base = ""

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            self._check_headers(request, key)
            if request.method == "GET" and request.route == "/v1/models":
                return self._list()
            if request.method != "POST" or request.route not in {"/v1/messages", "/v1/complete"}:
                raise Refused(404, "Not Found")
            if request.route == "/v1/complete":
                return self._text(self._shaped(Complete, request), plan)
            return self._answer(self._parsed(request), plan)
        except Refused as refusal:
            return self.refusal(refusal)

    def refusal(self, refused: Refused) -> Whole:
        error = {"type": TYPES.get(refused.status, "api_error"), "message": refused.message}
        return Whole(refused.status, dump({"type": "error", "error": error, "request_id": "req_upstream"}))

    def _check_headers(self, request: Request, key: str) -> None:
        if request.headers.get("x-api-key") != key and request.headers.get("authorization") != f"Bearer {key}":
            raise Refused(401, f"invalid x-api-key: {request.headers.get('x-api-key')}")
        if request.headers.get("anthropic-version") not in VERSIONS:
            raise Refused(400, "anthropic-version: header is required")

    def _list(self) -> Whole:
        rows = [
            {"id": name, "type": "model", "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
            | {"lifecycle": "active", "retires_at": None, "max_tokens": 8192, "max_input_tokens": 200_000}
            for name in MODELS
        ]
        return Whole(200, dump({"data": rows, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}))

    def _shaped(self, shape: type[Any], request: Request) -> Any:
        try:
            return shape.model_validate_json(request.body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            unknown = first["type"] == "extra_forbidden"
            message = "Extra inputs are not permitted" if unknown else first["msg"]
            raise Refused(400, f"{where}: {message}", param=where) from error

    def _parsed(self, request: Request) -> Messages:
        body: Messages = self._shaped(Messages, request)
        if not body.model.startswith("claude-"):
            raise Refused(404, f"model: {body.model}")
        newest = request.headers["anthropic-version"] == "2026-10-21"
        if newest and (body.temperature, body.top_p, body.top_k) != (None, None, None):
            raise Refused(400, "temperature, top_p and top_k are not supported in this version")
        return body

    def _text(self, body: Complete, plan: Plan) -> Whole | Stream:
        """No token counts, whole or streamed."""
        asked = body.prompt.rpartition("\n\nHuman:")[2].partition("\n\nAssistant:")[0].strip()
        words, finish = cut(plan.words(asked), body.max_tokens_to_sample, body.stop_sequences)
        stop = "max_tokens" if finish == "length" else "stop_sequence"
        head = {"type": "completion", "id": plan.call_id, "model": plan.model or body.model}
        prompt = len(pieces(body.prompt))
        if not body.stream:
            return Whole(
                200, dump({**head, "completion": "".join(words), "stop_reason": stop}), bill=Bill(prompt, len(words))
            )
        parts = [_completion(1, **head, completion=word, stop_reason=None) for word in words]
        return Stream([_event("ping"), *parts, _completion(**head, completion="", stop_reason=stop)], Bill(prompt))

    def _answer(self, body: Messages, plan: Plan) -> Whole | Stream:
        answer = _Answer(body, plan)
        streamed = bool(body.stream) if plan.stream is None else plan.stream
        return answer.stream() if streamed else answer.whole()


def message_text(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    texts = [
        block.text if isinstance(block, Text) else message_text(getattr(block, "content", "")) for block in content
    ]
    return " ".join(text for text in texts if text)


class _Answer:
    def __init__(self, body: Messages, plan: Plan) -> None:
        self.plan, self.model = plan, plan.model or body.model
        texts = [message_text(body.system), *(message_text(message.content) for message in body.messages)]
        echoed = message_text([message for message in body.messages if message.role == "user"][-1].content)
        if body.output_config and body.output_config.format:
            echoed = dump(sample(body.output_config.format.schema_)).decode()
        self.words, finish = cut(plan.words(echoed), body.max_tokens, body.stop_sequences)
        self.tool: dict[str, Any] | None = None
        if body.tools and self._uses_tool(body):
            finish = "tool_calls"
            self._use_tool(body)
        self.stop = plan.finish or STOPS[finish]
        self.prompt_tokens = sum(len(pieces(text)) for text in texts) + plan.cached

    @staticmethod
    def _uses_tool(body: Messages) -> bool:
        last = body.messages[-1]
        answered = isinstance(last.content, list) and any(isinstance(block, ToolResult) for block in last.content)
        return not answered and (body.tool_choice is None or body.tool_choice.type != "none")

    def _use_tool(self, body: Messages) -> None:
        named = body.tool_choice.name if body.tool_choice else None
        tool = next(tool for tool in body.tools or [] if named in {None, tool.name})
        self.tool = {"type": "tool_use", "id": f"toolu_{self.plan.call_id}", "name": tool.name}
        self.tool["input"] = sample(tool.input_schema)
        self.words = pieces(dump(self.tool["input"]).decode())

    @property
    def completion_tokens(self) -> int:
        return len(self.words) + self.plan.reasoning

    def usage(self, completion: int) -> Any:
        """Anthropic's input tokens leave out what came from the cache."""
        if self.plan.usage is not AS_COUNTED:
            return self.plan.usage
        return {
            "input_tokens": self.plan.count("prompt_tokens", self.prompt_tokens - self.plan.cached),
            "cache_read_input_tokens": self.plan.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": self.plan.count("completion_tokens", completion),
            "output_tokens_details": {"thinking_tokens": self.plan.reasoning},
        }

    def bill(self, completion: int) -> Bill:
        return Bill(self.prompt_tokens, completion, self.plan.cached, self.plan.reasoning)

    def message(self, content: list[Any], stop: str | None, usage: Any) -> dict[str, Any]:
        message = {"id": self.plan.call_id, "type": "message", "role": "assistant", "model": self.model}
        message |= {"content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}
        return {name: value for name, value in message.items() if value is not ABSENT}

    def whole(self) -> Whole:
        block = self.tool or {"type": "text", "text": "".join(self.words)}
        body = self.message([block], self.stop, self.usage(self.completion_tokens))
        if self.plan.twist == "missing":
            del body["content"]
        elif self.plan.twist:
            body["content"] = [*body["content"], {"type": "unheard_of", "index": 7}]
        headers = {"request-id": f"up_{self.plan.call_id}"}
        return Whole(200, dump(body), headers, self.bill(self.completion_tokens))

    def stream(self) -> Stream:
        index = 7 if self.plan.twist == "index" else 0
        block = {**self.tool, "input": {}} if self.tool else {"type": "text", "text": ""}
        parts = [
            {"type": "input_json_delta", "partial_json": word} if self.tool else {"type": "text_delta", "text": word}
            for word in self.words
        ]
        events = [
            _event("message_start", message=self.message([], None, self.usage(1))),
            _event("content_block_start", index=index, content_block=block),
            _event("ping"),
            *(_event("content_block_delta", 1, index=index, delta=part) for part in parts),
            _event("content_block_stop", index=index),
            *self._ends(),
            _event("message_stop"),
        ]
        if self.plan.twist == "missing":
            events[3:-1] = [_event("content_block_delta", index=index) for _ in parts]
        return Stream(events, self.bill(self.plan.reasoning))

    def _ends(self) -> list[Event]:
        delta = {"stop_reason": self.stop, "stop_sequence": None}
        usage = self.usage(self.completion_tokens)
        told = {} if usage is ABSENT else {"usage": usage}
        ends = [_event("message_delta", delta=delta, **told)]
        if self.plan.usage_again:
            prompt, completion = self.plan.usage_again
            ends.append(
                _event("message_delta", delta=delta, usage={"input_tokens": prompt, "output_tokens": completion})
            )
        return ends * 2 if self.plan.twist == "finish_twice" else ends


def _completion(tokens: int = 0, **fields: Any) -> Event:
    return Event(sse(fields, "completion"), tokens)


def _event(name: str, tokens: int = 0, **fields: Any) -> Event:
    return Event(sse({"type": name, **fields}, name), tokens)
