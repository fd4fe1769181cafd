"""Clarifai's own wire: `/outputs` of a model, with a status code inside every answer."""

from typing import Any, Literal

from pydantic import ValidationError

from tests.upstream.openai import Refused, Strict
from tests.upstream.wire import Bill, Plan, Request, Whole, dump, pieces

CODES = {400: 11102, 401: 11009, 404: 21200, 429: 11005, 503: 21353}
ROUTE = "/v2/users/acme/apps/main/models/writer/outputs"


class App(Strict):
    user_id: Literal["acme"]
    app_id: Literal["main"]


class Raw(Strict):
    raw: str


class Data(Strict):
    text: Raw


class Input(Strict):
    data: Data


class Params(Strict):
    max_tokens: int | None = None
    temperature: float | None = None


class OutputInfo(Strict):
    params: Params


class Version(Strict):
    output_info: OutputInfo


class Model(Strict):
    model_version: Version


class Outputs(Strict):
    user_app_id: App
    inputs: list[Input]
    model: Model | None = None


class Clarifai:
    base = "/v2/ext/openai/v1"

    def handle(self, request: Request, plan: Plan, key: str) -> Whole:
        try:
            if request.headers.get("authorization") != f"Key {key}":
                raise Refused(401, "Invalid API key or personal access token")
            if (request.method, request.route) != ("POST", ROUTE):
                raise Refused(404, "Model does not exist")
            return self._outputs(self._parsed(request), plan)
        except Refused as refused:
            return self.refusal(refused)

    def refusal(self, refused: Refused) -> Whole:
        """A model that is not deployed yet is told under HTTP 200."""
        code = CODES.get(refused.status, 10020)
        content = {"status": {"code": code, "description": refused.message, "req_id": "r1"}, "outputs": []}
        return Whole(200 if refused.status == 503 else refused.status, dump(content))

    def _parsed(self, request: Request) -> Outputs:
        try:
            return Outputs.model_validate_json(request.body)
        except ValidationError as error:
            raise Refused(400, error.errors()[0]["msg"]) from error

    def _outputs(self, body: Outputs, plan: Plan) -> Whole:
        most = body.model.model_version.output_info.params.max_tokens if body.model else None
        prompt = body.inputs[0].data.text.raw
        words = plan.words(prompt)[:most]
        output: dict[str, Any] = {"id": "o1", "status": {"code": 10000, "description": "Ok"}}
        output |= {"data": {"text": {"raw": "".join(words)}}}
        output |= {"prompt_tokens": len(pieces(prompt)), "completion_tokens": len(words)}
        status = {"code": 10000, "description": "Ok", "req_id": "r1"}
        return Whole(200, dump({"status": status, "outputs": [output]}), bill=Bill(len(pieces(prompt)), len(words)))
