"""Replicate's predictions: created, then streamed as plain text, asked after, or cancelled.

`meta/chat` streams; `acme/slow` cannot, and is over when it was asked after twice; `acme/stuck` never is.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from tests.upstream.openai import Refused, Strict
from tests.upstream.wire import Bill, Event, Plan, Request, Stream, Whole, dump

STREAMING, SLOW, STUCK = "meta/chat", "acme/slow", "acme/stuck"
KEYS = ("prompt", "system_prompt", "max_tokens", "temperature", "stop_sequences")
COUNTED = {"predict_time": 0.5, "input_token_count": 4}


class Input(Strict):
    prompt: str
    system_prompt: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stop_sequences: str | None = None


class Create(Strict):
    input: Input
    stream: Literal[True] | None = None


@dataclass
class Prediction:
    id: str
    model: str
    words: list[str]
    asked: int = 0
    status: str = "starting"
    urls: dict[str, str] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        over = self.status == "succeeded"
        found = {"id": self.id, "model": self.model, "version": "hidden", "status": self.status, "error": None}
        found |= {"output": self.words if over else None, "urls": self.urls, "logs": "", "created_at": "2026-11-20"}
        return found | ({"metrics": {**COUNTED, "output_token_count": len(self.words)}} if over else {})


class Replicate:
    base = "/v1"

    def __init__(self) -> None:
        self.predictions: dict[str, Prediction] = {}

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            if request.headers.get("authorization") != f"Bearer {key}":
                raise Refused(401, "You did not pass a valid authentication token")
            return self._routed(request, plan)
        except Refused as refused:
            return self.refusal(refused)

    def refusal(self, refused: Refused) -> Whole:
        content = {"title": "Refused", "detail": refused.message, "status": refused.status}
        return Whole(refused.status, dump(content), {"content-type": "application/problem+json"})

    def _routed(self, request: Request, plan: Plan) -> Whole | Stream:
        match [request.method, *request.route.removeprefix("/v1/").split("/")]:
            case ["GET", "account"]:
                return Whole(200, dump({"type": "organization", "username": "acme", "name": "Acme"}))
            case ["GET", "models", owner, name]:
                return self._model(f"{owner}/{name}")
            case ["POST", "models", owner, name, "predictions"]:
                return self._create(request, plan, f"{owner}/{name}")
            case ["GET", "predictions", number]:
                return self._asked_after(self._known(number))
            case ["POST", "predictions", number, "cancel"]:
                self._known(number).status = "canceled"
                return Whole(200, dump(self._known(number).content()))
            case ["GET", "streams", number]:
                return self._stream(request, self._known(number))
        raise Refused(404, "Not found")

    def _known(self, number: str) -> Prediction:
        if number not in self.predictions:
            raise Refused(404, "Prediction not found")
        return self.predictions[number]

    def _model(self, name: str) -> Whole:
        if name not in {STREAMING, SLOW, STUCK}:
            raise Refused(404, "Model not found")
        properties = {key: {"type": "string"} for key in KEYS}
        schema = {"components": {"schemas": {"Input": {"type": "object", "properties": properties}}}}
        return Whole(200, dump({"name": name, "latest_version": {"id": "v1", "openapi_schema": schema}}))

    def _create(self, request: Request, plan: Plan, name: str) -> Whole:
        try:
            body = Create.model_validate_json(request.body)
        except ValidationError as error:
            raise Refused(422, f"- input: {error.errors()[0]['msg']}") from error
        if body.stream and "prefer" in request.headers:
            raise Refused(400, "A stream is not waited for")
        made = Prediction(f"p{request.number}", name, plan.words(body.input.prompt)[: body.input.max_tokens])
        host = f"http://{request.headers['host']}/replicate/v1"
        made.urls = {"get": f"{host}/predictions/{made.id}", "cancel": f"{host}/predictions/{made.id}/cancel"}
        if name == STREAMING:
            made.urls["stream"] = f"{host}/streams/{made.id}"
            made.status = "starting" if body.stream else "succeeded"
        self.predictions[made.id] = made
        over = made.status == "succeeded"
        return Whole(201, dump(made.content()), bill=Bill(4, len(made.words)) if over else None)

    def _asked_after(self, made: Prediction) -> Whole:
        made.asked += 1
        if made.model == SLOW and made.asked >= 2:
            made.status = "succeeded"
        return Whole(200, dump(made.content()))

    def _stream(self, request: Request, made: Prediction) -> Stream:
        if request.headers.get("accept") != "text/event-stream":
            raise Refused(406, "This is a stream")
        events = [Event(_event("output", word, place), 1) for place, word in enumerate(made.words)]
        events += [Event(_event("logs", "n_tokens = 4", 0)), Event(_event("done", "{}", len(events)))]
        return Stream(events, Bill(4))


def _event(name: str, data: str, place: int) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {name}\nid: 1790000000:{place}\n{lines}\n".encode()
