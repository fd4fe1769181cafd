"""A Databricks workspace: both of its routes, its list of endpoints, and tokens for service principals."""

import json
import re
from dataclasses import replace
from typing import Any

from pydantic import Field

from tests.upstream import oauth
from tests.upstream.openai import Chat, Embedding, OpenAI, Refused
from tests.upstream.wire import Event, Plan, Request, Stream, Whole, dump

ENDPOINTS = {"databricks-claude-sonnet-5": "chat", "databricks-bge-large-en": "embeddings", "our-text": "completions"}
TOGETHER = re.compile(r"/serving-endpoints/(chat/completions|completions|embeddings)")
ALONE = re.compile(r"/serving-endpoints/([^/]+)/invocations")
ROUTES = {"chat": "chat/completions"}
CODES = {400: "BAD_REQUEST", 401: "401", 403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST"}


class DatabricksChat(Chat):
    top_k: int | None = None
    thinking: dict[str, Any] | None = None


class DatabricksEmbedding(Embedding):
    input: Any = Field(max_length=150)
    instruction: str | None = None


class Databricks(OpenAI):
    base = ""
    prefixes = tuple(ENDPOINTS)
    chat = DatabricksChat
    embedding = DatabricksEmbedding

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        if request.route == "/oidc/v1/token":
            return oauth.OAuth().handle(replace(request, path="/oauth/basic/token"), plan, key)
        try:
            if not oauth.accepts(request):
                self._check_key(request, key)
            if (request.method, request.route) == ("GET", "/api/2.0/serving-endpoints"):
                return self._endpoints()
            return self._served(request, plan)
        except Refused as refusal:
            return self.refusal(refusal)

    def refusal(self, refused: Refused) -> Whole:
        code = CODES.get(refused.status, "INTERNAL_ERROR")
        return Whole(refused.status, dump({"error_code": code, "message": refused.message}))

    def _endpoints(self) -> Whole:
        rows = [
            {"name": name, "state": {"ready": "READY", "config_update": "NOT_UPDATING"}, "task": f"llm/v1/{task}"}
            for name, task in ENDPOINTS.items()
        ]
        return Whole(200, dump({"endpoints": rows}))

    def _served(self, request: Request, plan: Plan) -> Whole | Stream:
        body = json.loads(request.body)
        if found := ALONE.fullmatch(request.route):
            if "model" in body:
                raise Refused(400, "model: Extra inputs are not permitted")
            body["model"], task = found[1], ENDPOINTS.get(found[1], "")
            operation = ROUTES.get(task, task)
        elif found := TOGETHER.fullmatch(request.route):
            operation = found[1]
        else:
            raise Refused(404, "No API found.")
        for name in ("encoding_format", "stream_options", "user"):
            if name in body:
                raise Refused(400, f"{name}: Extra inputs are not permitted")
        if body.get("stream") and body.get("response_format"):
            raise Refused(400, "response_format is not supported with stream.")
        inner = replace(request, path=f"/databricks/v1/{operation}", body=dump(body))
        return self._in_parts(self._answer(inner, plan))

    def _in_parts(self, answer: Whole | Stream) -> Whole | Stream:
        """Claude's words come in parts, with its reasoning before them."""
        if isinstance(answer, Stream):
            return replace(
                answer, events=[Event(_parted(event.data, "delta"), event.tokens) for event in answer.events]
            )
        return replace(answer, body=_parted(answer.body, "message"))


def _parted(data: bytes, place: str) -> bytes:
    head = b"data: " if data.startswith(b"data: ") else b""
    text = data.removeprefix(head).strip()
    if not text.startswith(b"{"):
        return data
    content = json.loads(text)
    for choice in content.get("choices", []):
        if (choice.get(place) or {}).get("content"):
            thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm.", "signature": "c2ln"}]}
            choice[place]["content"] = [thought, {"type": "text", "text": choice[place]["content"]}]
    return head + dump(content) + (b"\n\n" if head else b"")
