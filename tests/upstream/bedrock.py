"""AWS Bedrock with its control plane and the token service. It recomputes each signature from what arrived, and takes
only what AWS's own description of the service and the rules of its chat API allow."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.upstream import eventstream, sigv4
from tests.upstream.botocore_shapes import complaints
from tests.upstream.openai import DOT, Refused, cut
from tests.upstream.wire import ABSENT, AS_COUNTED, Bill, Event, Plan, Request, Stream, Whole, dump, pieces, sample

NOVA, LLAMA = "amazon.nova-lite-v1:0", "meta.llama3-8b-instruct-v1:0"
TITAN_EMBED, STABLE_IMAGE = "amazon.titan-embed-text-v2:0", "stability.stable-image-core-v1:1"
MODELS = (NOVA, LLAMA, TITAN_EMBED, STABLE_IMAGE)
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"
BEARER = "bedrock-api-key-canary-ZkV9tXw7rTyUiOpAsDfG"
TYPES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
STREAM = "application/vnd.amazon.eventstream"


def lent_secret(key_id: str) -> str:
    """The secret of the temporary keys that the token service has lent under this id."""
    return f"lent/Secret+canary{key_id}"


def lent_token(key_id: str) -> str:
    return f"lent-token-canary-{key_id}=="


class Bedrock:
    base = ""

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        service, answer = self._addressed(request)
        try:
            self._check_proof(request, service)
            return answer(request, plan)
        except Refused as refusal:
            return self.refusal(refusal)

    def refusal(self, refused: Refused) -> Whole:
        name = refused.code or TYPES.get(refused.status, "InternalServerException")
        return Whole(refused.status, dump({"message": refused.message}), {"x-amzn-errortype": f"{name}:http://x/"})

    def _addressed(self, request: Request) -> tuple[str, Callable[[Request, Plan], Whole | Stream]]:
        match request.method, request.route.strip("/").split("/"):
            case "POST", ["sts"]:
                return "sts", self._sts
            case "GET", ["foundation-models"]:
                return "bedrock", self._models
            case "GET", ["inference-profiles"]:
                return "bedrock", self._profiles
            case "POST", ["model", _, "converse" | "converse-stream"]:
                return "bedrock", self._converse
            case "POST", ["model", _, "invoke" | "invoke-with-response-stream"]:
                return "bedrock", self._invoke
        return "bedrock", self._unknown

    def _unknown(self, request: Request, plan: Plan) -> Whole:
        raise Refused(404, f"No such operation: {request.method} {request.route}")

    def _check_proof(self, request: Request, service: str) -> None:
        proof = request.headers.get("authorization", "")
        if proof == f"Bearer {BEARER}" and service != "sts":
            return
        key_id = proof.partition("Credential=")[2].partition("/")[0]
        lent = key_id.startswith("ASIALENT")
        secret, token = (lent_secret(key_id), lent_token(key_id)) if lent else (sigv4.SECRET, "")
        if problem := sigv4.problem(request, service=service, secret=secret, token=token):
            raise Refused(403, f"{problem} (key {key_id})", "InvalidSignatureException")

    # --- the token service and the control plane

    def _sts(self, request: Request, plan: Plan) -> Whole:
        asked = {name: values[0] for name, values in parse_qs(request.body.decode(), strict_parsing=True).items()}
        if asked["Version"] != "2011-06-15":
            raise Refused(400, "No such version")
        if asked["Action"] == "GetCallerIdentity":
            return _xml("GetCallerIdentity", "<Arn>arn:aws:iam::123456789012:user/mesh</Arn>")
        told = {name: value for name, value in asked.items() if name not in {"Action", "Version"}}
        told["DurationSeconds"] = int(told["DurationSeconds"])
        if problem := complaints("sts", asked["Action"], told):
            raise Refused(400, problem)
        key_id = f"ASIALENT{request.number:012}"
        ends = (datetime.now(UTC) + timedelta(seconds=told["DurationSeconds"])).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = {"AccessKeyId": key_id, "SecretAccessKey": lent_secret(key_id), "SessionToken": lent_token(key_id)}
        content = "".join(f"<{name}>{value}</{name}>" for name, value in {**keys, "Expiration": ends}.items())
        return _xml("AssumeRole", f"<Credentials>{content}</Credentials>")

    def _models(self, request: Request, plan: Plan) -> Whole:
        outcomes = {TITAN_EMBED: "EMBEDDING", STABLE_IMAGE: "IMAGE"}
        rows = [
            {"modelId": name, "modelName": name, "inputModalities": ["TEXT"], "inferenceTypesSupported": ["ON_DEMAND"]}
            | {"outputModalities": [outcomes.get(name, "TEXT")], "modelLifecycle": {"status": "ACTIVE"}}
            for name in MODELS
        ]
        return Whole(200, dump({"modelSummaries": rows}))

    def _profiles(self, request: Request, plan: Plan) -> Whole:
        row = {"inferenceProfileId": f"us.{NOVA}", "inferenceProfileName": "US Nova Lite", "status": "ACTIVE"}
        behind = [{"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"}]
        own = {"inferenceProfileArn": PROFILE, "inferenceProfileName": "Ours", "status": "ACTIVE", "models": behind}
        rows = [{**row, "type": "SYSTEM_DEFINED", "models": behind}, {**own, "type": "APPLICATION"}]
        return Whole(200, dump({"inferenceProfileSummaries": rows}))

    # --- the chat API

    def _converse(self, request: Request, plan: Plan) -> Whole | Stream:
        name, operation = self._asked(request)
        body = request.json
        described = {"converse": "Converse", "converse-stream": "ConverseStream"}[operation]
        if problem := complaints("bedrock-runtime", described, body, modelId=name) or _rule_broken(body):
            raise Refused(400, problem)
        answer = _Conversation(body, plan)
        streamed = operation == "converse-stream" if plan.stream is None else plan.stream
        return answer.stream() if streamed else answer.whole()

    def _asked(self, request: Request) -> tuple[str, str]:
        _, segment, operation = request.route.strip("/").split("/")
        name = unquote(segment)
        if ":" in segment or name.removeprefix("us.") not in {*MODELS, PROFILE}:
            raise Refused(400, "The provided model identifier is invalid.")
        if request.headers.get("content-type") != "application/json":
            raise Refused(400, "The content type must be application/json")
        return name, operation

    # --- models by their own JSON

    def _invoke(self, request: Request, plan: Plan) -> Whole | Stream:
        name, operation = self._asked(request)
        streamed = operation == "invoke-with-response-stream"
        accept = "x-amzn-bedrock-accept" if streamed else "accept"
        if request.headers.get(accept) != "application/json":
            raise Refused(400, f"{accept} is missing")
        body = request.json
        if name == LLAMA:
            _only(body, {"prompt", "max_gen_len", "temperature", "top_p"}, needed={"prompt"})
            return _generated(body, plan, streamed)
        if name == TITAN_EMBED:
            _only(body, {"inputText", "dimensions", "normalize", "embeddingTypes"}, needed={"inputText"})
            vector = [float(len(body["inputText"])), 0.5]
            tokens = len(pieces(body["inputText"]))
            return Whole(200, dump({"embedding": vector, "inputTextTokenCount": tokens}), bill=Bill(tokens))
        _only(body, {"prompt", "aspect_ratio", "mode", "output_format", "seed", "negative_prompt"}, needed={"prompt"})
        return Whole(200, dump({"seeds": [1], "finish_reasons": [None], "images": [DOT]}))


def _xml(action: str, content: str) -> Whole:
    text = f"<{action}Response><{action}Result>{content}</{action}Result></{action}Response>"
    return Whole(200, text.encode(), {"content-type": "text/xml"})


def _only(body: dict[str, Any], known: set[str], *, needed: set[str]) -> None:
    if unknown := body.keys() - known:
        raise Refused(400, f"Malformed input request: extraneous key {sorted(unknown)} is not permitted")
    if missing := needed - body.keys():
        raise Refused(400, f"Malformed input request: required key {sorted(missing)} not found")


def _rule_broken(body: dict[str, Any]) -> str:
    """What the description of the service does not tell."""
    roles = [message["role"] for message in body["messages"]]
    blocks = [block for message in body["messages"] for block in message["content"]]
    if not roles or roles[0] != "user":
        return "A conversation must start with a user message."
    if any(one == next_one for one, next_one in pairwise(roles)):
        return "A conversation must alternate between user and assistant roles."
    if any(not block.get("text", "-").strip() for block in [*blocks, *body.get("system", [])]):
        return "The text field in the ContentBlock object is blank."
    if any("toolUse" in block or "toolResult" in block for block in blocks) and "toolConfig" not in body:
        return "The toolConfig field must be defined when using toolUse and toolResult content blocks."
    for name in ("temperature", "topP"):
        if not 0 <= body.get("inferenceConfig", {}).get(name, 0) <= 1:
            return f"{name} must be between 0 and 1"
    return ""


class _Conversation:
    def __init__(self, body: dict[str, Any], plan: Plan) -> None:
        self.plan, settings = plan, body.get("inferenceConfig", {})
        texts = [block["text"] for message in body["messages"] for block in message["content"] if "text" in block]
        results = [block["toolResult"] for block in body["messages"][-1]["content"] if "toolResult" in block]
        said = results[0]["content"][0]["text"] if results else texts[-1]
        self.words, finish = cut(plan.words(said), settings.get("maxTokens"), settings.get("stopSequences"))
        self.tool = None if results or "toolConfig" not in body else self._tool(body["toolConfig"])
        if self.tool:
            self.words, finish = pieces(dump(self.tool["input"]).decode()), "tool_calls"
        self.stop = plan.finish or STOPS[finish]
        told = [block["text"] for block in body.get("system", []) if "text" in block]
        self.prompt_tokens = sum(len(pieces(text)) for text in [*texts, *told]) + plan.cached

    def _tool(self, config: dict[str, Any]) -> dict[str, Any]:
        spec = config["tools"][0]["toolSpec"]
        name = spec["name"]
        return {"toolUseId": f"tooluse_{self.plan.call_id}", "name": name, "input": sample(spec["inputSchema"]["json"])}

    def usage(self) -> Any:
        """Bedrock's input tokens leave out what came from the cache."""
        if self.plan.usage is not AS_COUNTED:
            return self.plan.usage
        given = self.plan.count("prompt_tokens", self.prompt_tokens - self.plan.cached)
        answered = self.plan.count("completion_tokens", len(self.words))
        total = self.prompt_tokens + len(self.words)
        return {
            "inputTokens": given,
            "outputTokens": answered,
            "totalTokens": total,
            "cacheReadInputTokens": self.plan.cached,
        }

    def bill(self, completion: int) -> Bill:
        return Bill(self.prompt_tokens, completion, self.plan.cached)

    def whole(self) -> Whole:
        block = {"toolUse": self.tool} if self.tool else {"text": "".join(self.words)}
        message = {"role": "assistant", "content": [block]}
        body = {"output": {"message": message}, "stopReason": self.stop, "usage": self.usage(), "metrics": {}}
        told = {name: value for name, value in body.items() if value is not ABSENT}
        return Whole(200, dump(told), {"x-amzn-requestid": f"up-{self.plan.call_id}"}, self.bill(len(self.words)))

    def stream(self) -> Stream:
        parts = [{"toolUse": {"input": word}} if self.tool else {"text": word} for word in self.words]
        start = {"toolUse": {"toolUseId": self.tool["toolUseId"], "name": self.tool["name"]}} if self.tool else None
        usage = self.usage()
        events = [
            _event("messageStart", role="assistant"),
            *([_event("contentBlockStart", contentBlockIndex=0, start=start)] if start else []),
            *(_event("contentBlockDelta", 1, contentBlockIndex=0, delta=part) for part in parts),
            _event("contentBlockStop", contentBlockIndex=0),
            _event("messageStop", stopReason=self.stop),
            _event("metadata", metrics={"latencyMs": 1}, **({} if usage is ABSENT else {"usage": usage})),
        ]
        return Stream(events, self.bill(0), STREAM)


def _event(name: str, tokens: int = 0, **fields: Any) -> Event:
    return Event(eventstream.event(name, dump({**fields, "p": "abcdefgh"})), tokens)


def exception(name: str, message: str) -> bytes:
    """An exception in the middle of a stream."""
    return eventstream.exception(name, dump({"message": message}))


def _generated(body: dict[str, Any], plan: Plan, streamed: bool) -> Whole | Stream:
    """What Llama says."""
    words, finish = cut(plan.words(body["prompt"]), body.get("max_gen_len"), None)
    given = len(pieces(body["prompt"]))
    counts = {"prompt_token_count": given, "generation_token_count": len(words), "stop_reason": finish}
    if not streamed:
        return Whole(200, dump({"generation": "".join(words), **counts}), bill=Bill(given, len(words)))
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": given, "outputTokenCount": len(words)}}
    chunks = [(word, {"stop_reason": None}) for word in words] + [("", {**counts, **metrics})]
    return Stream([_chunk({"generation": word, **told}) for word, told in chunks], Bill(given), STREAM)


def _chunk(content: dict[str, Any]) -> Event:
    wrapped = dump({"bytes": base64.b64encode(json.dumps(content).encode()).decode(), "p": "abc"})
    return Event(eventstream.event("chunk", wrapped), 1 if content["generation"] else 0)
