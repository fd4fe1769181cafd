"""OpenAI's dialect, as strict as the real one: unknown fields and wrong types are refused."""

import base64
import hashlib
import struct
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tests.upstream.wire import ABSENT, AS_COUNTED, Bill, Event, Plan, Request, Stream, Whole, dump, pieces, sample, sse

MODELS = ("gpt-4o-mini", "gpt-5.2", "gpt-3.5-turbo-instruct", "text-embedding-3-small")
REASONING = ("o1", "o3", "o4", "gpt-5", "gpt-6")
DONE = Event(b"data: [DONE]\n\n")
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNg+M/wHwAEAQH/mqVuqwAAAABJRU5ErkJggg=="
"""A picture of one pixel."""


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param


# --- what a request may hold -----------------------------------------------------------------------------


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Strict):
    type: Literal["text"]
    text: str


class ImageURL(Strict):
    url: Annotated[str, Field(pattern="^(https://|data:image/)")]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: ImageURL


Texts = str | Annotated[list[TextPart], Field(min_length=1)]


class Function(Strict):
    name: str
    arguments: str


class ToolCall(Strict):
    id: str
    type: Literal["function"]
    function: Function


class System(Strict):
    role: Literal["system", "developer"]
    content: Texts
    name: str | None = None


class User(Strict):
    role: Literal["user"]
    content: str | Annotated[list[TextPart | ImagePart], Field(min_length=1)]
    name: str | None = None


class Assistant(Strict):
    role: Literal["assistant"]
    content: Texts | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None


class ToolResult(Strict):
    role: Literal["tool"]
    content: Texts
    tool_call_id: str


Message = Annotated[System | User | Assistant | ToolResult, Field(discriminator="role")]


class FunctionTool(Strict):
    name: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: FunctionTool


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Schema(Strict):
    name: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


Penalty = Annotated[float, Field(ge=-2, le=2)] | None
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Sampling(Strict):
    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: int | None = None
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    user: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def options_need_a_stream(self) -> "Sampling":
        if self.stream_options is not None and not self.stream:
            raise ValueError("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        return self


class Chat(Sampling):
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None


class Completion(Sampling):
    prompt: str | list[str] | list[int] | list[list[int]]
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None


class Image(Strict):
    model: str
    prompt: Annotated[str, Field(min_length=1, max_length=32_000)]
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    size: Annotated[str, Field(pattern=r"^(auto|\d+x\d+)$")] | None = None
    quality: str | None = None
    style: Literal["vivid", "natural"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    moderation: Literal["low", "auto"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    user: str | None = None


Texty = Annotated[str, Field(min_length=1)]
Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Embedding(Strict):
    model: str
    input: Texty | Annotated[list[Texty] | list[Tokens], Field(min_length=1, max_length=2048)] | Tokens
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


# --- the dialect -----------------------------------------------------------------------------------------


class OpenAI:
    base = "/v1"
    prefixes: tuple[str, ...] = ("gpt-", "text-embedding-", "chatgpt-", "o1", "o3", "o4", "dall-e-")
    models: tuple[str, ...] = MODELS
    key_optional = False
    chat: type[Chat] = Chat
    completion: type[Completion] = Completion
    embedding: type[Embedding] = Embedding
    image: type[Image] = Image

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            self._check_key(request, key)
            if request.method == "GET" and request.route == "/v1/models":
                return self._list()
            return self._answer(request, plan)
        except Refused as refusal:
            return self.refusal(refusal)

    def refusal(self, refused: Refused) -> Whole:
        kind = "invalid_request_error" if refused.status < 500 else "server_error"
        error = {"message": refused.message, "type": kind, "param": refused.param, "code": refused.code}
        return Whole(refused.status, dump({"error": error}))

    def _check_key(self, request: Request, key: str) -> None:
        given = request.headers.get("authorization")
        if given != f"Bearer {key}" and not (self.key_optional and given is None):
            raise Refused(401, f"Incorrect API key provided: {given}.", "invalid_api_key")

    def _list(self) -> Whole:
        rows = [
            {"id": name, "object": "model", "created": 1, "owned_by": "system", "shutdown_date": None}
            for name in self.models
        ]
        return Whole(200, dump({"object": "list", "data": rows}))

    def _answer(self, request: Request, plan: Plan) -> Whole | Stream:
        routes = self.routes()
        if request.method != "POST" or request.route not in routes:
            raise Refused(404, f"Invalid URL ({request.method} {request.route})")
        shape, answer = routes[request.route]
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise Refused(400, "you must provide a JSON body with content-type application/json")
        body = self._parsed(shape, request.body)
        self._check_model(body.model)
        return answer(body, plan)

    def routes(self) -> dict[str, tuple[type[Any], Any]]:
        return {
            "/v1/chat/completions": (self.chat, self._chat),
            "/v1/completions": (self.completion, self._completion),
            "/v1/embeddings": (self.embedding, self._embedding),
            "/v1/images/generations": (self.image, self._image),
        }

    def _parsed(self, shape: type[BaseModel], body: bytes) -> Any:
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            unknown = first["type"] == "extra_forbidden"
            message = f"Unknown parameter: '{where}'." if unknown else f"Invalid '{where}': {first['msg']}."
            raise Refused(400, message, "unknown_parameter" if unknown else "invalid_value", where) from error

    def _check_model(self, model: str) -> None:
        if not model.startswith(self.prefixes):
            raise Refused(
                404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found"
            )

    # --- chat

    def _chat(self, body: Chat, plan: Plan) -> Whole | Stream:
        self._check_tools(body)
        self._check_reasoning(body)
        answer = _Answer.to_chat(body, plan)
        streamed = bool(body.stream) if plan.stream is None else plan.stream
        if not streamed:
            return answer.whole("chat.completion", answer.chat_choice, body.n or 1)
        return answer.stream("chat.completion.chunk", answer.chat_deltas, body, body.n or 1)

    def _check_reasoning(self, body: Chat) -> None:
        if not body.model.startswith(REASONING):
            return
        for name in ("max_tokens", "stop", "presence_penalty", "frequency_penalty", "logit_bias"):
            if getattr(body, name):
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                raise Refused(400, message, "unsupported_parameter", name)
        if body.temperature not in {None, 1}:
            message = "Unsupported value: 'temperature' does not support this value with this model."
            raise Refused(400, message, "unsupported_value", "temperature")

    def _check_tools(self, body: Chat) -> None:
        """Each tool result answers a call made before it; `tool_choice` needs tools."""
        called: set[str] = set()
        for number, message in enumerate(body.messages):
            if isinstance(message, Assistant):
                called |= {call.id for call in message.tool_calls or []}
            elif isinstance(message, ToolResult) and message.tool_call_id not in called:
                where = f"messages.[{number}].role"
                raise Refused(400, "messages with role 'tool' must follow a message with 'tool_calls'.", None, where)
        if body.tool_choice not in (None, "none") and not body.tools:
            raise Refused(400, "'tool_choice' is only allowed when 'tools' are specified.", None, "tool_choice")

    # --- completions and embeddings

    def _completion(self, body: Completion, plan: Plan) -> Whole | Stream:
        answer = _Answer.to_completion(body, plan)
        streamed = bool(body.stream) if plan.stream is None else plan.stream
        if not streamed:
            return answer.whole("text_completion", answer.text_choice, body.n or 1)
        return answer.stream("text_completion", answer.text_deltas, body, body.n or 1)

    def _embedding(self, body: Embedding, plan: Plan) -> Whole:
        inputs = [body.input] if isinstance(body.input, str) or isinstance(body.input[0], int) else body.input
        rows = [
            {"object": "embedding", "index": number, "embedding": vector(text, body.dimensions or 8)}
            for number, text in enumerate(inputs)
        ]
        if body.encoding_format == "base64":
            for row in rows:
                packed = struct.pack(f"<{len(row['embedding'])}f", *row["embedding"])
                row["embedding"] = base64.b64encode(packed).decode()
        counted = sum(len(pieces(text)) if isinstance(text, str) else len(text) for text in inputs)
        prompt = plan.count("prompt_tokens", counted)
        answer = {"object": "list", "data": rows, "model": plan.model or body.model}
        usage = {"prompt_tokens": prompt, "total_tokens": prompt} if plan.usage is AS_COUNTED else plan.usage
        return Whole(200, dump(answer | ({} if usage is ABSENT else {"usage": usage})), bill=Bill(counted))

    # --- pictures

    def _image(self, body: Image, plan: Plan) -> Whole:
        """Each picture is the same dot; a text in the plan is where they lie instead."""
        if plan.text is not None:
            rows = [{"url": plan.text} for _ in range(body.n or 1)]
        elif body.response_format == "url":
            rows = [{"url": f"https://pictures.test/{plan.call_id}-{place}.png"} for place in range(body.n or 1)]
        else:
            rows = [{"b64_json": DOT, "revised_prompt": f"{body.prompt}!"} for _ in range(body.n or 1)]
        answer = {"created": plan.created, "data": rows}
        usage = {} if plan.usage is AS_COUNTED or plan.usage is ABSENT else {"usage": plan.usage}
        return Whole(200, dump(answer | usage), bill=Bill())


def vector(text: Any, size: int) -> list[float]:
    """The same numbers for the same text."""
    seed = hashlib.sha256(repr(text).encode()).digest()
    return [round(seed[place % 32] / 255 - 0.5, 4) for place in range(size)]


def message_text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.text for part in content if isinstance(part, TextPart))
    return content or ""


class _Answer:
    """The words, tool call and usage of one answer, and how they look whole or streamed."""

    def __init__(self, plan: Plan, model: str, prompt: str, echoed: str, limit: int | None, stop: Any) -> None:
        self.plan, self.model = plan, plan.model or model
        self.words, self.finish = cut(plan.words(echoed), limit, stop)
        self.finish = plan.finish or self.finish
        self.call: dict[str, Any] | None = None
        self.prompt_tokens = len(pieces(prompt)) + plan.cached

    @classmethod
    def to_chat(cls, body: Chat, plan: Plan) -> "_Answer":
        texts = [message_text(message.content) for message in body.messages]
        echoed = next((text for text in reversed(texts) if text), "")
        asked = [message for message in body.messages if isinstance(message, User | ToolResult)]
        if asked:
            echoed = message_text(asked[-1].content)
        if body.response_format and body.response_format.type != "text":
            schema = body.response_format.json_schema
            value = sample(schema.schema_) if schema else {"answer": echoed}
            echoed = dump(value).decode()
        limit = body.max_completion_tokens or body.max_tokens
        answer = cls(plan, body.model, " ".join(texts), echoed, limit, body.stop)
        if body.tools and body.tool_choice != "none" and isinstance(body.messages[-1], User):
            answer.use_tool(body.tools, body.tool_choice)
        return answer

    @classmethod
    def to_completion(cls, body: Completion, plan: Plan) -> "_Answer":
        first = body.prompt if isinstance(body.prompt, str) else body.prompt[0]
        prompt = first if isinstance(first, str) else "token " * len(body.prompt)
        echoed = prompt * 2 if body.echo else prompt
        return cls(plan, body.model, prompt, echoed, body.max_tokens or 16, body.stop)

    def use_tool(self, tools: list[Tool], choice: Any) -> None:
        wanted = choice["function"]["name"] if isinstance(choice, dict) else tools[0].function.name
        tool = next(tool for tool in tools if tool.function.name == wanted)
        arguments = dump(sample(tool.function.parameters or {"type": "object"})).decode()
        function = {"name": wanted, "arguments": arguments}
        self.call = {"id": f"call_{self.plan.call_id}", "type": "function", "function": function}
        self.words, self.finish = pieces(arguments), "tool_calls"

    @property
    def head(self) -> dict[str, Any]:
        return {"id": self.plan.call_id, "created": self.plan.created, "model": self.model}

    def completion_tokens(self, choices: int) -> int:
        return len(self.words) * choices + self.plan.reasoning

    def usage(self, choices: int) -> Any:
        if self.plan.usage is not AS_COUNTED:
            return self.plan.usage
        prompt = self.plan.count("prompt_tokens", self.prompt_tokens)
        completion = self.plan.count("completion_tokens", self.completion_tokens(choices))
        return self.usage_of(prompt, completion)

    def usage_of(self, prompt: Any, completion: Any) -> dict[str, Any]:
        total = prompt + completion if isinstance(prompt, int) and isinstance(completion, int) else prompt
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": self.plan.cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self.plan.reasoning, "audio_tokens": 0},
        }

    def bill(self, completion: int) -> Bill:
        return Bill(self.prompt_tokens, completion, self.plan.cached, self.plan.reasoning)

    # --- whole

    def whole(self, kind: str, choice: Any, choices: int) -> Whole:
        rows = [choice(index) for index in range(choices)]
        body = {"object": kind, **self.head, "choices": rows, "service_tier": "default"}
        if self.plan.twist == "missing":
            del body["choices"]
        elif self.plan.twist == "index":
            body["choices"] = [row | {"index": 7} for row in rows]
        elif self.plan.twist == "finish_twice":
            body["choices"] = rows + rows
        usage = self.usage(choices)
        if usage is not ABSENT:
            body["usage"] = usage
        headers = {"x-request-id": f"up_{self.plan.call_id}"}
        return Whole(200, dump(body), headers, self.bill(self.completion_tokens(choices)))

    def chat_choice(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.words), "refusal": None}
        if self.call:
            message |= {"content": None, "tool_calls": [self.call]}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": self.finish}

    def text_choice(self, index: int) -> dict[str, Any]:
        return {"index": index, "text": "".join(self.words), "logprobs": None, "finish_reason": self.finish}

    # --- streamed

    def stream(self, kind: str, deltas: Any, body: Sampling, choices: int) -> Stream:
        reports = bool(body.stream_options and body.stream_options.include_usage)
        events = [
            self._chunk(kind, choice, tokens, reports)
            for index in range(choices)
            for choice, tokens in self._twisted(deltas(7 if self.plan.twist == "index" else index))
        ]
        if reports and (usage := self.usage(choices)) is not ABSENT:
            events.append(self._usage_chunk(kind, usage))
            if self.plan.usage_again:
                events.append(self._usage_chunk(kind, self.usage_of(*self.plan.usage_again)))
        return Stream([*events, DONE], self.bill(self.plan.reasoning))

    def _chunk(self, kind: str, choice: dict[str, Any], tokens: int, reports: bool) -> Event:
        chunk = {"object": kind, **self.head, "choices": [choice]} | ({"usage": None} if reports else {})
        if self.plan.twist == "missing":
            del chunk["choices"]
        return Event(sse(chunk), tokens)

    def _usage_chunk(self, kind: str, usage: Any) -> Event:
        return Event(sse({"object": kind, **self.head, "choices": [], "usage": usage}))

    def _twisted(self, deltas: list[tuple[dict[str, Any], int]]) -> list[tuple[dict[str, Any], int]]:
        return deltas + deltas[-1:] if self.plan.twist == "finish_twice" else deltas

    def chat_deltas(self, index: int) -> list[tuple[dict[str, Any], int]]:
        def delta(content: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
            return {"index": index, "delta": content, "logprobs": None, "finish_reason": finish}

        start: dict[str, Any] = {"role": "assistant", "content": ""}
        parts: list[dict[str, Any]] = [{"content": word} for word in self.words]
        if self.call:
            opened = {"index": 0, **self.call, "function": {"name": self.call["function"]["name"], "arguments": ""}}
            start = {"role": "assistant", "content": None, "tool_calls": [opened]}
            parts = [{"tool_calls": [{"index": 0, "function": {"arguments": word}}]} for word in self.words]
        return [(delta(start), 0), *((delta(part), 1) for part in parts), (delta({}, self.finish), 0)]

    def text_deltas(self, index: int) -> list[tuple[dict[str, Any], int]]:
        def piece(text: str, finish: str | None = None) -> dict[str, Any]:
            return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}

        return [*((piece(word), 1) for word in self.words), (piece("", self.finish), 0)]


def cut(words: list[str], limit: int | None, stop: Any) -> tuple[list[str], str]:
    """The words up to a stop sequence or the limit, and why they end."""
    finish = "stop"
    text = "".join(words)
    for sequence in [stop] if isinstance(stop, str) else stop or []:
        text = text.partition(sequence)[0] if sequence else text
    words = pieces(text)
    if limit is not None and len(words) > limit:
        words, finish = words[:limit], "length"
    return words, finish
