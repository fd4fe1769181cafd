"""Text Generation Inference: `/generate` and `/generate_stream`, as strict as its own validation, and `/info`."""

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from tests.upstream.openai import Refused, Strict, cut
from tests.upstream.wire import Bill, Event, Plan, Request, Stream, Whole, dump, pieces

TYPES = {422: "validation", 424: "generation", 429: "overloaded", 500: "incomplete_generation"}
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class Parameters(Strict):
    details: Literal[True]
    max_new_tokens: Annotated[int, Field(gt=0)]
    do_sample: bool | None = None
    temperature: Positive | None = None
    top_p: Share | None = None
    typical_p: Share | None = None
    top_k: Annotated[int, Field(gt=0)] | None = None
    repetition_penalty: Positive | None = None
    frequency_penalty: Positive | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    stop: Annotated[list[str], Field(max_length=4)] | None = None
    return_full_text: bool | None = None


class Generate(Strict):
    inputs: Annotated[str, Field(min_length=1)]
    parameters: Parameters


class TGI:
    base = ""

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            if request.headers.get("authorization") != f"Bearer {key}":
                raise Refused(401, "unauthorized")
            if (request.method, request.route) == ("GET", "/info"):
                return Whole(200, dump({"model_id": "zephyr", "max_total_tokens": 2048, "version": "3.3.7"}))
            if request.method != "POST" or request.route not in {"/generate", "/generate_stream"}:
                raise Refused(404, "not found")
            return self._answer(self._parsed(request), plan, request.route == "/generate_stream")
        except Refused as refused:
            return self.refusal(refused)

    def refusal(self, refused: Refused) -> Whole:
        content = {"error": refused.message, "error_type": TYPES.get(refused.status, "generation")}
        return Whole(refused.status, dump(content))

    def _parsed(self, request: Request) -> Generate:
        try:
            return Generate.model_validate_json(request.body)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise Refused(422, f"Input validation error: {where}: {error.errors()[0]['msg']}") from error

    def _answer(self, body: Generate, plan: Plan, streamed: bool) -> Whole | Stream:
        stops, said = body.parameters.stop or [], plan.words(body.inputs)
        words, finish = cut(said, body.parameters.max_new_tokens, stops)
        reason = "length" if finish == "length" else "eos_token"
        found = next((stop for stop in stops if stop in "".join(said)), None) if reason == "eos_token" else None
        if found:  # it stays in the text
            words, reason = [*words, *pieces(found)], "stop_sequence"
        prompt = len(pieces(body.inputs))
        details = {"finish_reason": reason, "generated_tokens": len(words), "seed": None}
        if not streamed:
            answer = {"generated_text": "".join(words), "details": {**details, "prefill": [], "tokens": []}}
            return Whole(200, dump(answer), {"x-prompt-tokens": str(prompt)}, Bill(prompt, len(words)))
        return Stream(self._events(words, {**details, "input_length": prompt}), Bill(prompt))

    def _events(self, words: list[str], details: dict[str, object]) -> list[Event]:
        events = []
        for place, word in enumerate(words):
            last = place == len(words) - 1
            frame = {"index": place, "token": {"id": place, "text": word, "logprob": -0.1, "special": False}}
            frame |= {"generated_text": "".join(words) if last else None, "details": details if last else None}
            events.append(Event(b"data:" + dump(frame) + b"\n\n", 1))
        return events
