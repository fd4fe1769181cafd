"""llama.cpp's server: OpenAI's routes, its own `/completion`, errors and `/health`; the key is optional."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from tests.upstream.openai import Chat, Completion, Embedding, OpenAI, Refused, Strict, cut
from tests.upstream.wire import Bill, Event, Plan, Request, Stream, Whole, dump, pieces, sse

LENIENT = ConfigDict(extra="allow", strict=True)
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


class LenientChat(Chat):
    model_config = LENIENT
    model: str = ""
    temperature: Annotated[float, Field(ge=0)] | None = None
    max_tokens: int | None = None


class LenientCompletion(Completion):
    model_config = LENIENT
    model: str = ""
    max_tokens: int | None = None


class LenientEmbedding(Embedding):
    model_config = LENIENT
    model: str = ""


class NativeCompletion(Strict):
    """What `/completion` takes of what we know of it; the server itself ignores the rest."""

    model: str = ""
    prompt: str
    n_predict: Annotated[int, Field(ge=-1)]
    stream: bool
    stop: list[str] = []
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Any = None
    n_probs: int | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    cache_prompt: bool | None = None


class LlamaCpp(OpenAI):
    base = "/v1"
    prefixes = ("",)
    models = ("smollm2",)
    key_optional = True
    chat = LenientChat
    completion = LenientCompletion
    embedding = LenientEmbedding

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        if request.method == "GET" and request.route == "/health":
            return Whole(200, dump({"status": "ok"}))
        answer = super().handle(request, plan, key)
        if isinstance(answer, Whole):
            answer.headers["server"] = "llama.cpp"
        return answer

    def routes(self) -> dict[str, tuple[type[Any], Any]]:
        return {**super().routes(), "/completion": (NativeCompletion, self._native)}

    def _native(self, body: NativeCompletion, plan: Plan) -> Whole | Stream:
        words, finish = cut(plan.words(body.prompt), body.n_predict if body.n_predict >= 0 else None, body.stop)
        prompt = len(pieces(body.prompt))
        told = {"index": 0, "tokens": [], "id_slot": 0, "tokens_evaluated": plan.count("prompt_tokens", prompt)}
        spent = plan.count("completion_tokens", len(words))
        stop_type = "limit" if finish == "length" else "eos"
        model = plan.model or self.models[0]
        last = {**told, "stop": True, "model": model, "tokens_predicted": spent, "stop_type": stop_type}
        if not body.stream:
            return Whole(200, dump({**last, "content": "".join(words)}), bill=Bill(prompt, len(words)))
        parts = [
            Event(sse({**told, "content": word, "stop": False, "tokens_predicted": place}), 1)
            for place, word in enumerate(words, 1)
        ]
        return Stream([*parts, Event(sse({**last, "content": ""}))], Bill(prompt))

    def refusal(self, refused: Refused) -> Whole:
        message = "Invalid API Key" if refused.status == 401 else refused.message
        kind = TYPES.get(refused.status, "server_error")
        return Whole(refused.status, dump({"error": {"code": refused.status, "message": message, "type": kind}}))

    def _list(self) -> Whole:
        meta = {"vocab_type": 1, "n_vocab": 49152, "n_ctx": 4096, "n_ctx_train": 8192, "n_embd": 576, "size": 1}
        rows = [
            {"id": name, "aliases": [name], "object": "model", "created": 1, "owned_by": "llamacpp", "meta": meta}
            for name in self.models
        ]
        old = [{"name": name, "model": name, "type": "model"} for name in self.models]
        return Whole(200, dump({"models": old, "object": "list", "data": rows}))
