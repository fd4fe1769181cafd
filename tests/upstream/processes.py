"""MonsterAPI's processes: started with `/generate/{model}`, over when they were asked after twice."""

from typing import Annotated

from pydantic import Field, ValidationError

from tests.upstream.openai import Refused, Strict
from tests.upstream.wire import Plan, Request, Whole, dump

STATES = ("IN_QUEUE", "in_progress", "COMPLETED")


class Generate(Strict):
    prompt: str
    max_length: Annotated[int, Field(gt=0)] | None = None
    temp: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None


class Processes:
    base = "/v1"

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.asked: dict[str, int] = {}

    def handle(self, request: Request, plan: Plan, key: str) -> Whole:
        try:
            if request.headers.get("authorization") != f"Bearer {key}":
                raise Refused(401, "Invalid token")
            match [request.method, *request.route.removeprefix("/v1/").split("/")]:
                case ["POST", "generate", "falcon-7b-instruct"]:
                    return self._start(request, plan)
                case ["GET", "status", number] if number in self.texts:
                    return self._status(number)
            raise Refused(404, "No such model or process")
        except Refused as refused:
            return self.refusal(refused)

    def refusal(self, refused: Refused) -> Whole:
        return Whole(refused.status, dump({"message": refused.message}))

    def _start(self, request: Request, plan: Plan) -> Whole:
        try:
            body = Generate.model_validate_json(request.body)
        except ValidationError as error:
            raise Refused(422, error.errors()[0]["msg"]) from error
        number = f"process-{request.number}"
        self.texts[number] = "".join(plan.words(body.prompt)[: body.max_length])
        return Whole(200, dump({"message": "Request accepted successfully", "process_id": number}))

    def _status(self, number: str) -> Whole:
        state = STATES[self.asked.get(number, 1)]
        self.asked[number] = self.asked.get(number, 1) + 1
        result = {"text": self.texts[number]} if state == "COMPLETED" else None
        return Whole(200, dump({"process_id": number, "status": state, "result": result}))
