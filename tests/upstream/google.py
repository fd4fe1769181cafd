"""Google's two hosts of Gemini, as strict as the fact sheets: the developer API and Vertex AI refuse unknown fields.

Streams have CRLF line ends. A model of the third generation refuses a call of a tool without its signature.
"""

import base64
import re
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, Field, ValidationError, model_validator

from tests.upstream.anthropic import Messages
from tests.upstream.anthropic import _Answer as ClaudeAnswer
from tests.upstream.google_identity import TOKEN
from tests.upstream.openai import Chat, OpenAI, Refused, Strict, cut, vector
from tests.upstream.wire import ABSENT, AS_COUNTED, Bill, Event, Plan, Request, Stream, Whole, dump, pieces, sample, sse

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
FINISHES = {"stop": "STOP", "length": "MAX_TOKENS"}
BLOCKED = "unspeakable"
"""A prompt with this word is blocked; an answer with it is cut off by the filter."""
SIGNATURE = base64.b64encode(b"what \xff\xfe the model thought").decode()
FOREIGN = "skip_thought_signature_validator"
PICTURE = base64.b64encode(b"\x89PNG picture").decode()
MODELS = ("gemini-3.8-flash", "gemini-2.5-flash", "gemini-3-pro-image", "gemini-embedding-2", "text-embedding-005")
RATIOS = Literal["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]


# --- what a request may hold -----------------------------------------------------------------------------


class Blob(Strict):
    mimeType: Annotated[str, Field(pattern="^image/")]
    data: Annotated[str, Field(min_length=1)]


class File(Strict):
    mimeType: Annotated[str, Field(pattern="^image/")]
    fileUri: Annotated[str, Field(pattern="^(gs|https)://")]


class FunctionCall(Strict):
    name: Annotated[str, Field(min_length=1)]
    args: dict[str, Any]


class FunctionResponse(Strict):
    name: Annotated[str, Field(min_length=1)]
    response: dict[str, Any]


class Part(Strict):
    text: Annotated[str, Field(min_length=1)] | None = None
    inlineData: Blob | None = None
    fileData: File | None = None
    functionCall: FunctionCall | None = None
    functionResponse: FunctionResponse | None = None
    thoughtSignature: str | None = None

    @model_validator(mode="after")
    def holds_one_thing(self) -> "Part":
        if sum(getattr(self, name) is not None for name in type(self).model_fields if name != "thoughtSignature") != 1:
            raise ValueError("required oneof field 'data' must have one initialized field")
        return self


class Content(Strict):
    role: Literal["user", "model"]
    parts: Annotated[list[Part], Field(min_length=1)]


class Text(Strict):
    text: Annotated[str, Field(min_length=1)]


class Instruction(Strict):
    parts: Annotated[list[Text], Field(min_length=1)]


class Thinking(Strict):
    thinkingLevel: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH"] | None = None
    thinkingBudget: int | None = None
    includeThoughts: bool | None = None

    @model_validator(mode="after")
    def never_both(self) -> "Thinking":
        if self.thinkingLevel is not None and self.thinkingBudget is not None:
            raise ValueError("You can only set one of thinking budget and thinking level.")
        return self


class ImageConfig(Strict):
    aspectRatio: RATIOS


class Config(Strict):
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    topP: Annotated[float, Field(ge=0, le=1)] | None = None
    topK: Annotated[int, Field(ge=1)] | None = None
    candidateCount: Annotated[int, Field(ge=1, le=8)] | None = None
    maxOutputTokens: Annotated[int, Field(ge=1)] | None = None
    stopSequences: Annotated[list[str], Field(max_length=5)] | None = None
    seed: int | None = None
    presencePenalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequencyPenalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    responseMimeType: Literal["text/plain", "application/json"] | None = None
    responseJsonSchema: dict[str, Any] | None = None
    responseModalities: list[Literal["TEXT", "IMAGE"]] | None = None
    imageConfig: ImageConfig | None = None
    thinkingConfig: Thinking | None = None
    mediaResolution: str | None = None

    @model_validator(mode="after")
    def schemas_need_json(self) -> "Config":
        if self.responseJsonSchema is not None and self.responseMimeType != "application/json":
            raise ValueError("A response schema needs the response mime type application/json.")
        return self


class Declaration(Strict):
    name: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
    description: str | None = None
    parametersJsonSchema: dict[str, Any] | None = Field(
        None, validation_alias=AliasChoices("parametersJsonSchema", "parameters_json_schema")
    )
    """Google's own client writes it the other way."""


class Tools(Strict):
    functionDeclarations: Annotated[list[Declaration], Field(min_length=1)]


class Calling(Strict):
    mode: Literal["AUTO", "ANY", "NONE", "VALIDATED"]
    allowedFunctionNames: list[str] | None = None


class ToolConfig(Strict):
    functionCallingConfig: Calling


class Safety(Strict):
    category: Annotated[str, Field(pattern="^HARM_CATEGORY_")]
    threshold: Annotated[str, Field(pattern="^(BLOCK_|OFF)")]


class Generate(Strict):
    contents: Annotated[list[Content], Field(min_length=1)]
    systemInstruction: Instruction | None = None
    generationConfig: Config = Config()
    tools: list[Tools] | None = None
    toolConfig: ToolConfig | None = None
    safetySettings: list[Safety] | None = None
    labels: dict[str, str] | None = None
    cachedContent: str | None = None

    @model_validator(mode="after")
    def turns_are_in_order(self) -> "Generate":
        if self.contents[0].role != "user":
            raise ValueError("Please ensure that the first turn is of role user.")
        for before, turn in zip(self.contents, self.contents[1:], strict=False):
            made = [part.functionCall.name for part in before.parts if part.functionCall]
            answered = [part.functionResponse.name for part in turn.parts if part.functionResponse]
            if made != answered:
                raise ValueError("The function response parts do not equal the function call parts of the turn before.")
        return self


class Wishes(Strict):
    taskType: Annotated[str, Field(pattern="^[A-Z_]+$")] | None = None
    title: str | None = None
    outputDimensionality: Annotated[int, Field(ge=1)] | None = None
    autoTruncate: bool | None = None


class Embed(Strict):
    content: Instruction
    embedContentConfig: Wishes = Wishes()
    model: str | None = None


class Batch(Strict):
    requests: Annotated[list[Embed], Field(min_length=1, max_length=100)]


class Instance(Strict):
    content: Annotated[str, Field(min_length=1)]
    task_type: Annotated[str, Field(pattern="^[A-Z_]+$")] | None = None
    title: str | None = None


class Sizes(Strict):
    outputDimensionality: Annotated[int, Field(ge=1)] | None = None
    autoTruncate: bool | None = None


class PredictTexts(Strict):
    instances: Annotated[list[Instance], Field(min_length=1, max_length=250)]
    parameters: Sizes = Sizes()


class Prompt(Strict):
    prompt: Annotated[str, Field(min_length=1)]


class Pictures(Strict):
    sampleCount: Annotated[int, Field(ge=1, le=4)]
    aspectRatio: Literal["1:1", "3:4", "4:3", "9:16", "16:9"] | None = None
    seed: int | None = None
    addWatermark: bool | None = None
    negativePrompt: str | None = None


class PredictPictures(Strict):
    instances: Annotated[list[Prompt], Field(min_length=1, max_length=1)]
    parameters: Pictures


class Count(Strict):
    contents: Annotated[list[Content], Field(min_length=1)]


def parsed(shape: type[BaseModel], body: bytes) -> Any:
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        message = f'Unknown name "{where}": Cannot find field.' if unknown else f"{where}: {first['msg']}"
        raise Refused(400, f"Invalid JSON payload received. {message}") from error


# --- the hosts -------------------------------------------------------------------------------------------


class GoogleHost:
    """What both hosts share: they find model and operation in the path."""

    base = ""
    route: re.Pattern[str]

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            self.check_proof(request, key)
            if request.method == "GET":
                return self.list(request)
            if request.route.endswith("/endpoints/openapi/chat/completions"):
                return self.open_model(request, plan)
            found = self.route.fullmatch(request.route)
            if found is None or request.method != "POST":
                raise Refused(404, f"The requested URL {request.route} was not found on this server.")
            if request.headers.get("content-type") != "application/json":
                raise Refused(400, "The content type must be application/json.")
            return self.answer(request, plan, found["model"], found["operation"])
        except Refused as refusal:
            return self.refusal(refusal)

    def refusal(self, refused: Refused) -> Whole:
        details = (
            [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refused.code}] if refused.code else []
        )
        error = {"code": refused.status, "message": refused.message, "status": STATUSES.get(refused.status, "INTERNAL")}
        return Whole(refused.status, dump({"error": error | ({"details": details} if details else {})}))

    def check_proof(self, request: Request, key: str) -> None:
        raise NotImplementedError

    def list(self, request: Request) -> Whole:
        raise NotImplementedError

    def open_model(self, request: Request, plan: Plan) -> Whole | Stream:
        raise Refused(404, "There are none here.")

    def answer(self, request: Request, plan: Plan, model: str, operation: str) -> Whole | Stream:
        query = request.path.partition("?")[2]
        if (operation == "streamGenerateContent") != (query == "alt=sse"):
            raise Refused(400, f"Unexpected query {query}.")
        if "generateContent" in operation or operation == "streamGenerateContent":
            return generated(parsed(Generate, request.body), plan, model, streamed=operation.startswith("stream"))
        raise Refused(404, f"{model} is not supported for {operation}.")


class Gemini(GoogleHost):
    base = "/v1beta"
    route = re.compile(r"/v1beta/models/(?P<model>[a-z0-9.-]+):(?P<operation>[A-Za-z]+)")

    def check_proof(self, request: Request, key: str) -> None:
        """A wrong key is a bad request here."""
        if request.headers.get("x-goog-api-key") != key or "authorization" in request.headers:
            raise Refused(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")

    def list(self, request: Request) -> Whole:
        if request.path.partition("?")[0] != "/gemini/v1beta/models":
            raise Refused(404, "Not found.")
        rows = [
            {"name": f"models/{name}", "displayName": name, "inputTokenLimit": 1000, "outputTokenLimit": 100}
            | {"supportedGenerationMethods": ["embedContent"] if "embed" in name else ["generateContent"]}
            for name in MODELS
        ]
        if "pageToken=second" in request.path:
            return Whole(200, dump({"models": rows[2:]}))
        return Whole(200, dump({"models": rows[:2], "nextPageToken": "second"}))

    def answer(self, request: Request, plan: Plan, model: str, operation: str) -> Whole | Stream:
        if operation != "batchEmbedContents":
            return super().answer(request, plan, model, operation)
        body = parsed(Batch, request.body)
        if any(one.model != f"models/{model}" for one in body.requests):
            raise Refused(400, "The model of each request must match that of the batch.")
        texts = [one.content.parts[0].text for one in body.requests]
        size = body.requests[0].embedContentConfig.outputDimensionality or 8
        counted = sum(len(pieces(text)) for text in texts)
        rows = [{"values": vector(text, size)} for text in texts]
        return Whole(
            200, dump({"embeddings": rows, "usageMetadata": {"promptTokenCount": counted}}), bill=Bill(counted)
        )


class Vertex(GoogleHost):
    """Tokens come from the token service; the project and the location stand in each path."""

    parent = "/v1/projects/mesh-tests-1234/locations/us-central1"
    route = re.compile(
        rf"{parent}/(?:publishers/(?:google|anthropic)/models|endpoints)/(?P<model>[a-z0-9.@-]+):(?P<operation>[A-Za-z]+)"
    )

    def check_proof(self, request: Request, key: str) -> None:
        given = request.headers.get("authorization", "")
        if not given.startswith(f"Bearer {TOKEN}-"):
            raise Refused(401, f"Request had invalid authentication credentials: {given}")

    def list(self, request: Request) -> Whole:
        parent = self.parent.removeprefix("/v1/")
        lists = {
            f"{self.parent}/endpoints": {
                "endpoints": [
                    {
                        "name": f"{parent}/endpoints/1234567890",
                        "displayName": "Support",
                        "deployedModels": [{"id": "1", "model": f"{parent}/models/77@1", "unheardOf": True}],
                        "createTime": "2026-01-01T00:00:00Z",
                    },
                    {"name": f"{parent}/endpoints/999", "displayName": "Empty"},
                ]
            },
            f"{self.parent}/models": {"models": [{"name": f"{parent}/models/77", "displayName": "Tuned Gemini"}]},
            "/v1beta1/publishers/google/models": {
                "publisherModels": [{"name": f"publishers/google/models/{name}"} for name in (*MODELS, "chirp-3")]
            },
        }
        if request.route not in lists or "pageSize=100" not in request.path:
            raise Refused(404, "Not found.")
        return Whole(200, dump(lists[request.route]))

    def answer(self, request: Request, plan: Plan, model: str, operation: str) -> Whole | Stream:
        if operation in {"rawPredict", "streamRawPredict"}:
            return self._claude(request, plan, model, streamed=operation.startswith("stream"))
        if operation == "countTokens":
            parsed(Count, request.body)
            return Whole(200, dump({"totalTokens": 1, "totalBillableCharacters": 2}))
        if operation == "predict" and "imagen" in model:
            return drawn(parsed(PredictPictures, request.body))
        if operation == "predict":
            return self._embedded(parsed(PredictTexts, request.body))
        return super().answer(request, plan, model, operation)

    def open_model(self, request: Request, plan: Plan) -> Whole | Stream:
        """OpenAI's chats; the publisher stands in the model's name."""
        body = parsed(Chat, request.body)
        if request.route != f"{self.parent}/endpoints/openapi/chat/completions" or "/" not in body.model:
            raise Refused(404, "Not found.")
        return OpenAI()._chat(body, plan)

    def _embedded(self, body: PredictTexts) -> Whole:
        size = body.parameters.outputDimensionality or 8
        counts = [len(pieces(one.content)) for one in body.instances]
        rows = [
            {
                "embeddings": {
                    "values": vector(one.content, size),
                    "statistics": {"token_count": count, "truncated": False},
                }
            }
            for one, count in zip(body.instances, counts, strict=True)
        ]
        return Whole(200, dump({"predictions": rows}), bill=Bill(sum(counts)))

    def _claude(self, request: Request, plan: Plan, model: str, *, streamed: bool) -> Whole | Stream:
        given = dict(request.json)
        if given.pop("anthropic_version", None) != "vertex-2023-10-16" or "model" in given:
            raise Refused(400, "anthropic_version: Field required")
        if bool(given.get("stream")) != streamed:
            raise Refused(400, "stream: must match the operation")
        answer = ClaudeAnswer(parsed(Messages, dump({**given, "model": model})), plan)
        return answer.stream() if streamed else answer.whole()


# --- answers ---------------------------------------------------------------------------------------------


def drawn(body: PredictPictures) -> Whole:
    """The second of several pictures is filtered; with the blocked word all are."""
    if body.parameters.seed is not None and body.parameters.addWatermark is not False:
        raise Refused(400, "seed needs addWatermark: false")
    if BLOCKED in body.instances[0].prompt:
        return Whole(200, dump({}))
    rows = [{"bytesBase64Encoded": PICTURE, "mimeType": "image/png"}] * body.parameters.sampleCount
    rows[1:2] = [{"raiFilteredReason": "Filtered."}] if len(rows) > 1 else []
    return Whole(200, dump({"predictions": rows, "deployedModelId": "7"}))


def generated(body: Generate, plan: Plan, model: str, *, streamed: bool) -> Whole | Stream:
    if model.startswith("gemini-3"):
        _check_signatures(body)
    if streamed and (body.generationConfig.candidateCount or 1) > 1:
        raise Refused(400, "Only one candidate can be streamed.")
    answer = _Answer(body, plan, model)
    return answer.stream() if streamed else answer.whole()


def _check_signatures(body: Generate) -> None:
    for turn in body.contents:
        calls = [part for part in turn.parts if part.functionCall]
        given = calls[0].thoughtSignature or "" if calls else SIGNATURE
        if given != FOREIGN and given.replace("-", "+").replace("_", "/") != SIGNATURE:
            raise Refused(400, "Function call is missing a thought_signature in functionCall parts.")


class _Answer:
    def __init__(self, body: Generate, plan: Plan, model: str) -> None:
        self.plan, self.model, self.config = plan, plan.model or model, body.generationConfig
        parts = [part for turn in body.contents for part in turn.parts]
        texts = [part.text for part in parts if part.text]
        if body.systemInstruction:
            texts += [part.text for part in body.systemInstruction.parts]
        results = [str(part.functionResponse.response) for part in parts if part.functionResponse]
        self.prompt = sum(len(pieces(text)) for text in texts + results)
        self.blocked = any(BLOCKED in text for text in texts)
        last = body.contents[-1].parts[-1]
        echoed = str(last.functionResponse.response["output"]) if last.functionResponse else last.text or "A picture."
        if self.config.responseMimeType == "application/json":
            echoed = dump(sample(self.config.responseJsonSchema or {"type": "object"})).decode()
        self.words, finish = cut(plan.words(echoed), self.config.maxOutputTokens, self.config.stopSequences)
        self.finish = plan.finish or FINISHES[finish]
        self.calls: list[dict[str, Any]] = []
        calling = body.toolConfig.functionCallingConfig if body.toolConfig else None
        if body.tools and not last.functionResponse and (calling is None or calling.mode != "NONE"):
            self._call(body.tools[0].functionDeclarations, calling)

    def _call(self, declared: list[Declaration], calling: Calling | None) -> None:
        """Every tool that may be called is; the first call carries the signature."""
        allowed = calling.allowedFunctionNames if calling else None
        tools = [tool for tool in declared if allowed is None or tool.name in allowed]
        self.calls = [
            {"functionCall": {"name": tool.name, "args": sample(tool.parametersJsonSchema or {"type": "object"})}}
            for tool in tools
        ]
        self.calls[0]["thoughtSignature"] = SIGNATURE
        self.words = []

    def usage(self, completion: int) -> Any:
        """Thoughts are counted apart from the answer."""
        if self.plan.usage is not AS_COUNTED:
            return self.plan.usage
        told = {
            "promptTokenCount": self.plan.count("prompt_tokens", self.prompt + self.plan.cached),
            "candidatesTokenCount": self.plan.count("completion_tokens", completion),
            "totalTokenCount": self.prompt + completion + self.plan.reasoning,
        }
        told |= {"cachedContentTokenCount": self.plan.cached} if self.plan.cached else {}
        return told | ({"thoughtsTokenCount": self.plan.reasoning} if self.plan.reasoning else {})

    def bill(self, completion: int) -> Bill:
        prompt = self.prompt + self.plan.cached
        return Bill(prompt, completion + self.plan.reasoning, self.plan.cached, self.plan.reasoning)

    def envelope(self, candidates: list[Any], usage: Any) -> dict[str, Any]:
        told = {} if usage is ABSENT else {"usageMetadata": usage}
        return {"candidates": candidates, **told, "modelVersion": self.model, "responseId": self.plan.call_id}

    def refused_prompt(self) -> dict[str, Any]:
        usage = {"promptTokenCount": self.prompt, "totalTokenCount": self.prompt}
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": usage}

    def candidate(self, parts: list[Any], index: int = 0, finish: str = "") -> dict[str, Any]:
        made = {"content": {"role": "model", "parts": parts}, "index": index}
        return made | ({"finishReason": finish} if finish else {})

    def whole(self) -> Whole:
        if self.blocked:
            return Whole(200, dump(self.refused_prompt()), bill=Bill(self.prompt))
        parts = self.calls or [{"text": "".join(self.words)}]
        if self.config.responseModalities:
            parts = [{"text": "Here."}, {"inlineData": {"mimeType": "image/png", "data": PICTURE}}]
        count = self.config.candidateCount or 1
        rows = [self.candidate(parts, index, self.finish) for index in range(count)]
        completion = max(len(self.words), len(self.calls)) * count
        return Whole(200, dump(self.envelope(rows, self.usage(completion))), bill=self.bill(completion))

    def stream(self) -> Stream:
        if self.blocked:
            return Stream([_event(self.refused_prompt())], Bill(self.prompt))
        told = [{"text": word} for word in self.words] or self.calls
        events = [
            _event(self.envelope([self.candidate([part])], self.usage(number)), 1)
            for number, part in enumerate(told, 1)
        ]
        events.append(_event(self.envelope([self.candidate([{"text": ""}], 0, self.finish)], self.usage(len(told)))))
        return Stream(events, self.bill(0))


def _event(value: Any, tokens: int = 0) -> Event:
    return Event(sse(value).replace(b"\n", b"\r\n"), tokens)
