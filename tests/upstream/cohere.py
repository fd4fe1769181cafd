"""Cohere's dialect: the second version's chat, embed and rerank, and the first version's chat and generate."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from tests.upstream.openai import Refused, Strict, ToolCall, cut, vector
from tests.upstream.openai import Tool as FunctionTool
from tests.upstream.wire import ABSENT, AS_COUNTED, Bill, Event, Plan, Request, Stream, Whole, dump, pieces, sample, sse

MODELS = {
    "command-a-03-2025": ["chat"],
    "command-a-reasoning-08-2025": ["chat"],
    "command-light": ["generate", "chat"],
    "embed-v4.0": ["embed"],
    "rerank-v3.5": ["rerank"],
    "classify-old": ["classify"],
}
BILLED = 1
"""What is charged for any prompt, however long: far less than what was processed."""
STOPS = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}
Share = Annotated[float, Field(ge=0, le=1)] | None
P = Annotated[float, Field(ge=0.01, le=0.99)] | None
K = Annotated[int, Field(ge=0, le=500)] | None
Length = Annotated[int, Field(ge=1)] | None


class Text(Strict):
    type: Literal["text"]
    text: str


class Thought(Strict):
    type: Literal["thinking"]
    thinking: str


class ImageURL(Strict):
    url: Annotated[str, Field(pattern="^(https://|data:image/)")]
    detail: Literal["auto", "low", "high"] | None = None


class Image(Strict):
    type: Literal["image_url"]
    image_url: ImageURL


class System(Strict):
    role: Literal["system"]
    content: str | list[Text]


class User(Strict):
    role: Literal["user"]
    content: str | Annotated[list[Text | Image], Field(min_length=1)]


class Assistant(Strict):
    role: Literal["assistant"]
    content: str | list[Text | Thought] | None = None
    tool_plan: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1)] | None = None


class ToolResult(Strict):
    role: Literal["tool"]
    tool_call_id: str
    content: str | list[Text]


Message = Annotated[System | User | Assistant | ToolResult, Field(discriminator="role")]


class Format(Strict):
    type: Literal["text", "json_object"]
    json_schema: dict[str, Any] | None = None


class Thinking(Strict):
    type: Literal["enabled", "disabled"]
    token_budget: Annotated[int, Field(ge=1)] | None = None


class Sampling(Strict):
    model: str
    stream: bool = False
    max_tokens: Length = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    k: K = None
    p: P = None
    seed: int | None = None
    frequency_penalty: Share = None
    presence_penalty: Share = None
    stop_sequences: Annotated[list[str], Field(max_length=5)] | None = None

    @model_validator(mode="after")
    def one_penalty(self) -> "Sampling":
        if self.frequency_penalty and self.presence_penalty:
            raise ValueError("only one of frequency_penalty and presence_penalty can be set")
        return self


class Chat(Sampling):
    messages: Annotated[list[Message], Field(min_length=1)]
    tools: Annotated[list[FunctionTool], Field(min_length=1)] | None = None
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    strict_tools: bool | None = None
    response_format: Format | None = None
    safety_mode: Literal["CONTEXTUAL", "STRICT", "OFF"] | None = None
    thinking: Thinking | None = None

    @model_validator(mode="after")
    def tools_are_sound(self) -> "Chat":
        if self.tool_choice and not self.tools:
            raise ValueError("tool_choice needs tools")
        called: set[str] = set()
        for message in self.messages:
            if isinstance(message, Assistant):
                called |= {call.id for call in message.tool_calls or []}
            elif isinstance(message, ToolResult) and message.tool_call_id not in called:
                raise ValueError(f"tool call id not found in previous tool calls: {message.tool_call_id}")
        return self


class Turn(Strict):
    role: Literal["USER", "CHATBOT", "SYSTEM"]
    message: Annotated[str, Field(min_length=1)]


class Definition(Strict):
    type: str
    description: str | None = None
    required: bool | None = None


class OldTool(Strict):
    name: str
    description: str
    parameter_definitions: dict[str, Definition] | None = None


class Called(Strict):
    name: str
    parameters: dict[str, Any]


class Result(Strict):
    call: Called
    outputs: list[dict[str, Any]]


class FirstChat(Sampling):
    message: Annotated[str, Field(min_length=1)]
    preamble: str | None = None
    chat_history: list[Turn] | None = None
    tools: list[OldTool] | None = None
    tool_results: list[Result] | None = None


class Generate(Sampling):
    prompt: Annotated[str, Field(min_length=1)]
    num_generations: Annotated[int, Field(ge=1, le=5)] | None = None
    end_sequences: list[str] | None = None


class Embed(Strict):
    model: str
    input_type: Literal["search_document", "search_query", "classification", "clustering", "image"]
    texts: Annotated[list[str], Field(max_length=96)] | None = None
    images: Annotated[list[str], Field(max_length=1)] | None = None
    embedding_types: list[Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]] | None = None
    output_dimension: Literal[256, 512, 1024, 1536] | None = None
    truncate: Literal["NONE", "START", "END"] | None = None

    @model_validator(mode="after")
    def one_kind(self) -> "Embed":
        if (self.texts is None) == (self.images is None) or (self.images is None) == (self.input_type == "image"):
            raise ValueError("texts or images, as input_type says")
        return self


class Rerank(Strict):
    model: str
    query: str
    documents: list[str]
    top_n: Length = None
    max_tokens_per_doc: Length = None


class Cohere:
    base = ""

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            if request.headers.get("authorization") != f"Bearer {key}":
                raise Refused(401, "invalid api token")
            if (request.method, request.route) == ("GET", "/v1/models"):
                return self._list(request)
            return self._answer(request, plan)
        except Refused as refused:
            return self.refusal(refused)

    def refusal(self, refused: Refused) -> Whole:
        return Whole(refused.status, dump({"id": "up-1", "message": refused.message}))

    def _list(self, request: Request) -> Whole:
        """Two pages, whatever was asked."""
        rows = [
            {"name": name, "endpoints": routes, "context_length": 128_000.0, "is_deprecated": "light" in name}
            for name, routes in MODELS.items()
        ]
        second = "page_token=second%26page" in request.path
        return Whole(200, dump({"models": rows[3:] if second else rows[:3]} | ({} if second else NEXT)))

    def _answer(self, request: Request, plan: Plan) -> Whole | Stream:
        routes: dict[str, tuple[type[Any], str, Any]] = {
            "/v2/chat": (Chat, "chat", _Chat),
            "/v1/chat": (FirstChat, "chat", _FirstChat),
            "/v1/generate": (Generate, "generate", _Generate),
            "/v2/embed": (Embed, "embed", _embedded),
            "/v2/rerank": (Rerank, "rerank", _ranked),
        }
        if request.method != "POST" or request.route not in routes:
            raise Refused(404, "no such route")
        shape, use, answer = routes[request.route]
        body = self._parsed(shape, request.body)
        if use not in MODELS.get(body.model, ()):
            raise Refused(404, f"model '{body.model}' not found, make sure the correct model ID was used")
        made: Whole | Stream = answer(body, plan)() if isinstance(answer, type) else answer(body, plan)
        return made

    @staticmethod
    def _parsed(shape: type[Any], body: bytes) -> Any:
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            raise Refused(400, f"invalid request: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


NEXT = {"next_page_token": "second&page"}


class _Words:
    """The words of one answer and what they cost."""

    def __init__(self, body: Any, plan: Plan, prompt: str, echoed: str, stops: list[str] | None) -> None:
        self.body, self.plan = body, plan
        self.words, finish = cut(plan.words(echoed), body.max_tokens, stops)
        self.finish = plan.finish or STOPS[finish]
        self.prompt_tokens = len(pieces(prompt))
        self.streamed = bool(body.stream) if plan.stream is None else plan.stream

    @property
    def text(self) -> str:
        return "".join(self.words)

    def __call__(self) -> Whole | Stream:
        if self.streamed:
            return Stream(self.events(), Bill(self.prompt_tokens, cached=self.plan.cached))
        return Whole(200, dump(self.whole()), bill=Bill(self.prompt_tokens, len(self.words), self.plan.cached))

    def whole(self) -> Any:
        raise NotImplementedError

    def events(self) -> list[Event]:
        raise NotImplementedError

    def usage(self) -> Any:
        if self.plan.usage is not AS_COUNTED:
            return self.plan.usage
        processed = {
            "input_tokens": float(self.plan.count("prompt_tokens", self.prompt_tokens)),
            "output_tokens": self.plan.count("completion_tokens", len(self.words)),
        }
        billed = {"input_tokens": BILLED, "output_tokens": processed["output_tokens"]}
        return {"billed_units": billed, "tokens": processed, "cached_tokens": self.plan.cached}

    def told(self, name: str) -> dict[str, Any]:
        return {} if self.usage() is ABSENT else {name: self.usage()}


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.text for part in content if isinstance(part, Text))
    return content or ""


class _Chat(_Words):
    def __init__(self, body: Chat, plan: Plan) -> None:
        texts = [_text(message.content) for message in body.messages]
        asked = [_text(message.content) for message in body.messages if isinstance(message, User | ToolResult)]
        echoed = (asked or texts)[-1]
        if body.response_format and body.response_format.json_schema:
            echoed = dump(sample(body.response_format.json_schema)).decode()
        super().__init__(body, plan, " ".join(texts), echoed, body.stop_sequences)
        self.thought = "Hm. " if body.thinking and body.thinking.type == "enabled" else ""
        self.call: dict[str, Any] | None = None
        if body.tools and body.tool_choice != "NONE" and isinstance(body.messages[-1], User):
            self._use(body.tools[0])

    def _use(self, tool: FunctionTool) -> None:
        arguments = dump(sample(tool.function.parameters or {"type": "object"})).decode()
        function = {"name": tool.function.name, "arguments": arguments}
        self.call = {"id": f"{tool.function.name}_{self.plan.call_id}", "type": "function", "function": function}
        self.words, self.finish = pieces(arguments), "TOOL_CALL"

    def whole(self) -> Any:
        content: list[Any] = [{"type": "thinking", "thinking": self.thought}] if self.thought else []
        message: dict[str, Any] = {"role": "assistant"}
        if self.call:
            message |= {"tool_plan": "I will use a tool.", "tool_calls": [self.call]}
        else:
            message["content"] = [*content, {"type": "text", "text": self.text}]
        return {"id": self.plan.call_id, "finish_reason": self.finish, "message": message, **self.told("usage")}

    def events(self) -> list[Event]:
        begun = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        over: dict[str, Any] = {"finish_reason": self.finish, **self.told("usage")}
        if self.finish == "ERROR":
            over["error"] = "the model stumbled"
        start = _event("message-start", id=self.plan.call_id, delta={"message": begun})
        return [start, *(self._calls() if self.call else self._texts()), _event("message-end", delta=over)]

    def _texts(self) -> list[Event]:
        pairs = [("thinking", word) for word in pieces(self.thought)] + [("text", word) for word in self.words]
        parts = [_delta("content-delta", 1, content={kind: word}) for kind, word in pairs]
        start = _delta("content-start", content={"type": "text", "text": ""})
        return [start, *parts, _event("content-end", index=0)]

    def _calls(self) -> list[Event]:
        assert self.call
        function = {"name": self.call["function"]["name"], "arguments": ""}
        parts = [_delta("tool-call-delta", 1, tool_calls={"function": {"arguments": word}}) for word in self.words]
        return [
            _delta("tool-plan-delta", tool_plan="I will use a tool."),
            _delta("tool-call-start", tool_calls={**self.call, "function": function}),
            *parts,
            _event("tool-call-end", index=0),
        ]


class _FirstChat(_Words):
    def __init__(self, body: FirstChat, plan: Plan) -> None:
        texts = [body.preamble or "", *(turn.message for turn in body.chat_history or []), body.message]
        super().__init__(body, plan, " ".join(filter(None, texts)), body.message, body.stop_sequences)

    def whole(self) -> Any:
        told = {"text": self.text, "generation_id": self.plan.call_id, "finish_reason": self.finish}
        return {**told, "chat_history": [], **self.told("meta")}

    def events(self) -> list[Event]:
        words = [_line(1, event_type="text-generation", is_finished=False, text=word) for word in self.words]
        start = _line(event_type="stream-start", is_finished=False, generation_id=self.plan.call_id)
        end = {"event_type": "stream-end", "is_finished": True, "finish_reason": self.finish}
        return [start, *words, _line(**end, response=self.whole())]


class _Generate(_Words):
    def __init__(self, body: Generate, plan: Plan) -> None:
        super().__init__(body, plan, body.prompt, body.prompt, body.end_sequences)

    def whole(self) -> Any:
        one = {"id": "g", "text": self.text, "finish_reason": self.finish}
        return {"id": self.plan.call_id, "generations": [one] * (self.body.num_generations or 1), **self.told("meta")}

    def events(self) -> list[Event]:
        words = [_line(1, event_type="text-generation", is_finished=False, text=word) for word in self.words]
        end = {"event_type": "stream-end", "is_finished": True, "finish_reason": self.finish}
        return [*words, _line(**end, response=self.whole())]


def _embedded(body: Embed, plan: Plan) -> Whole:
    inputs = body.texts or body.images or []
    counted = sum(len(pieces(text)) for text in inputs)
    vectors = [vector(text, body.output_dimension or 8) for text in inputs]
    answer = {"id": plan.call_id, "response_type": "embeddings_by_type", "embeddings": {"float": vectors}}
    return Whole(200, dump({**answer, "meta": {"billed_units": {"input_tokens": counted}}}), bill=Bill(counted))


def _ranked(body: Rerank, plan: Plan) -> Whole:
    """Documents that share more words with the query come first."""
    wanted = set(body.query.split())
    scores = [
        (len(wanted & set(document.split())) / len(wanted), -place) for place, document in enumerate(body.documents)
    ]
    best = sorted(scores, reverse=True)[: body.top_n]
    results = [{"index": -place, "relevance_score": score} for score, place in best]
    return Whole(200, dump({"id": plan.call_id, "results": results, "meta": {"billed_units": {"search_units": 1}}}))


def _delta(kind: str, tokens: int = 0, **message: Any) -> Event:
    return _event(kind, tokens, index=0, delta={"message": message})


def _event(kind: str, tokens: int = 0, **fields: Any) -> Event:
    return Event(sse({"type": kind, **fields}, kind), tokens)


def _line(tokens: int = 0, **fields: Any) -> Event:
    return Event(dump(fields) + b"\n", tokens)
