"""OpenAI's Responses API: takes what the official client's types describe, for models that answer nowhere else."""

import json
from typing import Any

from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter

from tests.upstream.openai import OpenAI, Refused
from tests.upstream.wire import Bill, Event, Plan, Request, Stream, Whole, dump, pieces, sample, sse

MODELS = ("o3-pro", "gpt-5-codex")
WHOLE = TypeAdapter(ResponseCreateParamsNonStreaming)
STREAMED = TypeAdapter(ResponseCreateParamsStreaming)
NAMES = {
    name
    for shape in (ResponseCreateParamsStreaming, *ResponseCreateParamsNonStreaming.__orig_bases__)
    for name in shape.__annotations__
}


def accept(body: dict[str, Any]) -> None:
    """Raise ValueError for what the client's types do not know; their lists are read only when walked through."""
    if unknown := body.keys() - NAMES:
        raise ValueError(f"Unknown parameters: {sorted(unknown)}")
    _walk((STREAMED if body.get("stream") else WHOLE).validate_python(body))


def _walk(value: Any) -> None:
    if isinstance(value, dict):
        value = value.values()
    if not isinstance(value, str | bytes | int | float | None):
        for item in value:
            _walk(item)


class Answer:
    """The words or the tool call that answer one request."""

    def __init__(self, body: dict[str, Any], plan: Plan) -> None:
        self.plan, self.model = plan, plan.model or body["model"]
        texts = [_text(item) for item in body["input"]]
        self.prompt = len(pieces(" ".join(texts)))
        self.words = plan.words(next((text for text in reversed(texts) if text), ""))
        limit = body.get("max_output_tokens")
        self.cut = limit is not None and len(self.words) > limit
        self.words = self.words[:limit]
        self.item: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
        self.kind, self.done = "response.output_text.delta", {"content": [self._part("".join(self.words))]}
        if tools := body.get("tools"):
            arguments = dump(sample(tools[0]["parameters"])).decode()
            self.words = pieces(arguments)
            self.item = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": tools[0]["name"]}
            self.kind, self.done = "response.function_call_arguments.delta", {"arguments": arguments}

    @staticmethod
    def _part(text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": []}

    def response(self, status: str, output: list[Any]) -> dict[str, Any]:
        spent = len(self.words) + self.plan.reasoning
        usage = {"input_tokens": self.prompt, "output_tokens": spent, "total_tokens": self.prompt + spent}
        usage |= {"output_tokens_details": {"reasoning_tokens": self.plan.reasoning}}
        reason = {"reason": "max_output_tokens"} if status == "incomplete" else None
        head = {"id": self.plan.call_id, "object": "response", "created_at": self.plan.created, "model": self.model}
        return {**head, "status": status, "error": None, "incomplete_details": reason, "output": output, "usage": usage}

    @property
    def last(self) -> dict[str, Any]:
        return self.response("incomplete" if self.cut else "completed", [{**self.item, **self.done}])

    def whole(self) -> Whole:
        return Whole(200, dump(self.last), bill=Bill(self.prompt, len(self.words), 0, self.plan.reasoning))

    def stream(self) -> Stream:
        empty = {name: type(value)() for name, value in self.done.items()}
        events = [
            _event("response.created", response=self.response("in_progress", [])),
            _event("response.output_item.added", output_index=0, item={**self.item, **empty}),
            *(_event(self.kind, 1, item_id=self.item["id"], output_index=0, delta=word) for word in self.words),
            _event("response.output_item.done", output_index=0, item={**self.item, **self.done}),
            _event(f"response.{self.last['status']}", response=self.last),
        ]
        return Stream(events, Bill(self.prompt, self.plan.reasoning))


class Responses(OpenAI):
    """OpenAI with this API beside the others, which refuse the models that answer here only."""

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            if request.route != "/v1/responses":
                return self._elsewhere(request, plan, key)
            self._check_key(request, key)
            body = json.loads(request.body)
            accept(body)
            if body.get("store") is not False:
                raise ValueError("Nobody asked for this to be kept.")
            answer = Answer(body, plan)
            return answer.stream() if body.get("stream") else answer.whole()
        except ValueError as error:
            return self.refusal(Refused(400, str(error)))
        except Refused as refusal:
            return self.refusal(refusal)

    def _elsewhere(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        if request.route == "/v1/chat/completions" and request.json["model"] in MODELS:
            raise Refused(404, "This model is only supported in v1/responses and not in v1/chat/completions.")
        return super().handle(request, plan, key)


def _text(item: dict[str, Any]) -> str:
    content = item.get("content", item.get("output")) or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def _event(name: str, tokens: int = 0, **fields: Any) -> Event:
    return Event(sse({"type": name, "sequence_number": 0, **fields}, name), tokens)
