"""llama.cpp's server: OpenAI's routes, its own errors, `/health`; the key is optional, unknown fields are ignored."""

from typing import Annotated

from pydantic import ConfigDict, Field

from tests.upstream.openai import Chat, Completion, Embedding, OpenAI, Refused
from tests.upstream.wire import Plan, Request, Stream, Whole, dump

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
