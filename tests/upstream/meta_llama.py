"""Meta's native wire: a `completion_message` with metrics, or events."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tests.upstream.openai import Refused, Strict
from tests.upstream.wire import Bill, Event, Plan, Request, Stream, Whole, dump, pieces, sse


class Message(Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class Chat(Strict):
    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(gt=0)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    stream: bool = False


class MetaLlama:
    base = "/v1"

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            if request.headers.get("authorization") != f"Bearer {key}":
                raise Refused(401, "Invalid API key")
            if (request.method, request.route) != ("POST", "/v1/chat/completions"):
                raise Refused(404, "Not found")
            return self._answer(self._parsed(request), plan)
        except Refused as refused:
            return self.refusal(refused)

    def refusal(self, refused: Refused) -> Whole:
        return Whole(refused.status, dump({"title": "Refused", "detail": refused.message, "status": refused.status}))

    def _parsed(self, request: Request) -> Chat:
        try:
            return Chat.model_validate_json(request.body)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise Refused(400, f"{where}: {error.errors()[0]['msg']}") from error

    def _answer(self, body: Chat, plan: Plan) -> Whole | Stream:
        said = plan.words(body.messages[-1].content)
        words = said[: body.max_completion_tokens]
        reason, prompt = "length" if len(words) < len(said) else "stop", len(pieces(body.messages[-1].content))
        counts = {"num_prompt_tokens": prompt, "num_completion_tokens": len(words)}
        metrics = [{"metric": name, "value": value, "unit": "tokens"} for name, value in counts.items()]
        if body.stream:
            return Stream(self._events(words, reason, metrics), Bill(prompt))
        message = {"role": "assistant", "stop_reason": reason, "content": {"type": "text", "text": "".join(words)}}
        answer = {"id": "c1", "completion_message": message, "metrics": metrics}
        return Whole(200, dump(answer), bill=Bill(prompt, len(words)))

    def _events(self, words: list[str], reason: str, metrics: list[Any]) -> list[Event]:
        def event(kind: str, text: str = "", tokens: int = 0, **fields: Any) -> Event:
            content = {"event_type": kind, "delta": {"type": "text", "text": text}, **fields}
            return Event(sse({"id": "c1", "event": content}), tokens)

        progress = [event("progress", word, 1) for word in words]
        return [event("start"), *progress, event("complete", stop_reason=reason), event("metrics", metrics=metrics)]
