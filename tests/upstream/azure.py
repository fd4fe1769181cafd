"""Azure OpenAI: OpenAI's dialect under deployments, behind one proof and, at `/apim`, a gateway that wants its own.

Both styles: `/openai/deployments/<deployment>/…?api-version=…`, and `/openai/v1/…` with the deployment in the body.
"""

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.upstream import oauth
from tests.upstream.openai import OpenAI, Refused
from tests.upstream.wire import Event, Plan, Request, Stream, Whole, dump, sse

DEPLOYMENTS = {
    "our-chat": "gpt-4o-2024-08-06",
    "our-embedder": "text-embedding-3-small",
    "our-painter": "gpt-image-1",
    "our-text": "gpt-35-turbo-instruct",
}
"""What is deployed, and the model that each holds."""
CLASSIC = re.compile(r"/openai/deployments/([^/]+)/(chat/completions|completions|embeddings|images/generations)")
NEWER = re.compile(r"/openai/v1/(chat/completions|completions|embeddings|images/generations)")
GATEWAY = "/apim"
SUBSCRIPTION = "apim-canary-2Lq7Wm9x"
SAFE = {"hate": {"filtered": False, "severity": "safe"}}
FIRST = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
FIRST |= {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}]}
LATER = {"id": "", "object": "", "created": 0, "model": ""}
LATER |= {"choices": [{"index": 0, "finish_reason": None, "logprobs": None, "content_filter_results": SAFE}]}


class Azure(OpenAI):
    base = ""
    prefixes = tuple(DEPLOYMENTS.values())

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            route = self._past_gateway(request)
            self._check_proof(request, key)
            query = parse_qs(urlsplit(request.path).query)
            if request.method == "GET":
                return self._models(route, query)
            deployment, operation = self._place(route, query, request)
            model = self._model_of(deployment)
            body = json.loads(request.body) | {"model": model}
            inner = replace(request, path=f"/azure/v1/{operation}", body=dump(body))
            return self._filtered(self._answer(inner, replace(plan, model=plan.model or model)), operation)
        except Refused as refusal:
            return self.refusal(refusal)

    def _past_gateway(self, request: Request) -> str:
        if not request.route.startswith(GATEWAY):
            return request.route
        if request.headers.get("ocp-apim-subscription-key") != SUBSCRIPTION:
            raise Refused(401, "Access denied due to missing subscription key.", "apim")
        return request.route.removeprefix(GATEWAY)

    def refusal(self, refused: Refused) -> Whole:
        if refused.code == "apim":
            return Whole(refused.status, dump({"statusCode": refused.status, "message": refused.message}))
        code = refused.code or str(refused.status)
        return Whole(refused.status, dump({"error": {"code": code, "message": refused.message}}))

    def _check_proof(self, request: Request, key: str) -> None:
        given, bearer = request.headers.get("api-key"), request.headers.get("authorization")
        if given is not None and bearer is not None:
            raise Refused(400, "A key and a token: which of them counts?")
        if given != key and not oauth.accepts(request):
            raise Refused(401, f"Access denied due to invalid subscription key {given or bearer}.")

    def _place(self, route: str, query: dict[str, list[str]], request: Request) -> tuple[str, str]:
        """The deployment and what is asked of it."""
        if found := CLASSIC.fullmatch(route):
            if not re.fullmatch(r"\d{4}-\d\d-\d\d(-preview)?", query.get("api-version", [""])[0]):
                raise Refused(404, "Resource not found")
            return found[1], found[2]
        if found := NEWER.fullmatch(route):
            return json.loads(request.body)["model"], found[1]
        raise Refused(404, "Resource not found")

    def _model_of(self, deployment: str) -> str:
        if deployment not in DEPLOYMENTS:
            raise Refused(404, "The API deployment for this resource does not exist.", "DeploymentNotFound")
        return DEPLOYMENTS[deployment]

    def _models(self, route: str, query: dict[str, list[str]]) -> Whole:
        if route != "/openai/v1/models" and not (route == "/openai/models" and query.get("api-version")):
            raise Refused(404, "Resource not found")
        return Whole(200, dump({"object": "list", "data": [{"id": "gpt-4o-2024-08-06", "object": "model"}]}))

    def _filtered(self, answer: Whole | Stream, operation: str) -> Whole | Stream:
        """What the content filter adds: chunks of its own, without any text."""
        if isinstance(answer, Stream) and operation == "chat/completions":
            events: list[Any] = [Event(sse(FIRST)), *answer.events[:1], Event(sse(LATER)), *answer.events[1:]]
            return replace(answer, events=events)
        return answer
