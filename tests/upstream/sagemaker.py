"""SageMaker's runtime and control plane: signed requests only, to containers of several shapes.

What stands behind an endpoint follows from its name: `tgi-…`, `vllm-…`, `own-…`, `broken-…`. Streams are AWS's binary
messages, whose parts are cut wherever it hurts.
"""

from dataclasses import replace
from typing import Any

from tests.upstream import sigv4
from tests.upstream.botocore_shapes import operation
from tests.upstream.compatible import Compatible
from tests.upstream.eventstream import event, exception
from tests.upstream.openai import Refused
from tests.upstream.tgi import TGI
from tests.upstream.wire import Bill, Event, Plan, Request, Stream, Whole, dump

PART = 7
"""Bytes of a stream's part: no event fits into one."""
ENDPOINTS = ("own-1", "tgi-1", "vllm-1")
OLD_TOKEN = "token-of-yesterday"
ACTIONS = {"invocations": "InvokeEndpoint", "invocations-response-stream": "InvokeEndpointWithResponseStream"}
OWN_HEADERS = "x-amzn-sagemaker-"
LOG = "arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/Endpoints/broken-1"
CONTAINER_KEY = "inside-the-container"


class Named(Refused):
    """A refusal with AWS's name for it."""

    def __init__(self, status: int, name: str, message: str, **more: Any) -> None:
        super().__init__(status, message, name)
        self.more = more


class SageMaker:
    base = ""

    def handle(self, request: Request, plan: Plan, key: str) -> Whole | Stream:
        try:
            self._check_proof(request)
            if (request.method, request.route) == ("POST", "/"):
                return self._control(request)
            return self._invoke(request, plan)
        except Refused as refused:
            return self.refusal(refused)

    def refusal(self, refused: Refused) -> Whole:
        more = refused.more if isinstance(refused, Named) else {}
        headers = {"x-amzn-errortype": refused.code or "InternalFailure"}
        return Whole(refused.status, dump({"Message": refused.message, **more}), headers)

    def _check_proof(self, request: Request) -> None:
        token = request.headers.get("x-amz-security-token", "")
        if problem := sigv4.problem(request, service="sagemaker", token=token):
            raise Named(403, "InvalidSignatureException", problem)
        if token == OLD_TOKEN:
            raise Named(403, "ExpiredTokenException", "The security token included in the request is expired")

    # --- control plane

    def _control(self, request: Request) -> Whole:
        if request.headers.get("content-type") != "application/x-amz-json-1.1":
            raise Named(400, "SerializationException", "Send application/x-amz-json-1.1.")
        match request.headers.get("x-amz-target"):
            case "SageMaker.ListEndpoints":
                rows = [{"EndpointName": name, "EndpointStatus": "InService"} for name in ENDPOINTS]
                at = int(request.json.get("NextToken", 0))
                more = {"NextToken": str(at + 2)} if at + 2 < len(rows) else {}
                return Whole(200, dump({"Endpoints": rows[at : at + 2], **more}))
            case "SageMaker.DescribeEndpoint":
                name = request.json["EndpointName"]
                if name not in ENDPOINTS:
                    raise Named(400, "ValidationException", f'Could not find endpoint "{name}".')
                return Whole(200, dump({"EndpointName": name, "EndpointStatus": "InService"}))
        raise Named(400, "UnknownOperationException", "")

    # --- runtime

    def _invoke(self, request: Request, plan: Plan) -> Whole | Stream:
        _, place, name, action = [*request.route.split("/"), "", "", ""][:4]
        if request.method != "POST" or place != "endpoints" or action not in ACTIONS:
            raise Named(404, "UnknownOperationException", "")
        self._check_headers(request, ACTIONS[action])
        streamed = action == "invocations-response-stream"
        container = {"tgi": self._tgi, "vllm": self._vllm, "own": self._own, "broken": self._broken}
        answer = container.get(name.partition("-")[0], self._absent)(request, plan, streamed)
        if isinstance(answer, Whole) and answer.status >= 400:
            raise self._model_error(answer.status, answer.body.decode())
        return answer

    def _check_headers(self, request: Request, name: str) -> None:
        """Only those that the operation has; the name for the wanted type differs between the two."""
        members = operation("sagemaker-runtime", name).input_shape.members.values()
        known = {member.serialization["name"].lower() for member in members if "name" in member.serialization}
        if strange := {header for header in request.headers if header.startswith(OWN_HEADERS)} - known:
            raise Named(400, "ValidationError", f"Unknown headers: {sorted(strange)}")
        accept = f"{OWN_HEADERS}accept" if "Stream" in name else "accept"
        if accept not in request.headers or request.headers.get("content-type") != "application/json":
            raise Named(400, "ValidationError", "Say what is sent and what is wanted.")

    def _absent(self, request: Request, plan: Plan, streamed: bool) -> Whole:
        name = request.route.split("/")[2]
        raise Named(400, "ValidationError", f"Endpoint {name} of account 123456789012 not found.")

    def _broken(self, request: Request, plan: Plan, streamed: bool) -> Whole | Stream:
        """Fails at once, or in the middle of its stream."""
        if not streamed:
            raise self._model_error(500, "CUDA out of memory")
        first = event("PayloadPart", b'data:{"token":{"text":"Half "}}\n\n')
        last = exception("ModelStreamError", dump({"ErrorCode": "StreamBroken", "Message": "The stream broke."}))
        return Stream([Event(first, 1), Event(last)], Bill())

    def _model_error(self, status: int, said: str) -> Named:
        message = f'Received error ({status}) from primary with message "{said}". See the log {LOG}.'
        more = {"OriginalStatusCode": status, "OriginalMessage": said, "LogStreamArn": LOG}
        return Named(424, "ModelError", message, **more)

    # --- containers

    def _tgi(self, request: Request, plan: Plan, streamed: bool) -> Whole | Stream:
        body = request.json
        if body.pop("stream", None) is not streamed:
            return Whole(422, dump({"error": "Say stream, and mean it.", "error_type": "validation"}))
        inner = self._inner(request, "generate_stream" if streamed else "generate", body)
        answer = TGI().handle(inner, plan, CONTAINER_KEY)
        if isinstance(answer, Whole) and answer.status == 200:  # older containers put it into a list
            return replace(answer, body=b"[" + answer.body + b"]", headers={})
        return _in_parts(answer)

    def _vllm(self, request: Request, plan: Plan, streamed: bool) -> Whole | Stream:
        inner = self._inner(request, "v1/chat/completions", request.json)
        return _in_parts(Compatible().handle(inner, plan, CONTAINER_KEY))

    def _inner(self, request: Request, route: str, body: Any) -> Request:
        headers = {**request.headers, "authorization": f"Bearer {CONTAINER_KEY}"}
        return Request(request.number, "POST", f"/inner/{route}", headers, dump(body))

    def _own(self, request: Request, plan: Plan, streamed: bool) -> Whole | Stream:
        """A wire that nobody else has."""
        body = request.json
        if body.keys() != {"query", "go"} or body["query"].keys() - {"limit"} != {"text"} or body["go"] is not streamed:
            return Whole(400, b"bad query")
        words = plan.words(body["query"]["text"])[: body["query"].get("limit")]
        if not streamed:
            answer = {"result": {"text": "".join(words)}, "cost": {"read": 5, "written": len(words)}}
            return Whole(200, dump(answer), bill=Bill(5, len(words)))
        events = [Event(dump({"delta": word}) + b"\n", 1) for word in words]
        return _in_parts(Stream([*events, Event(dump({"over": "yes", "written": len(words)}) + b"\n")], Bill(5)))


def _in_parts(answer: Whole | Stream) -> Whole | Stream:
    """A container's stream as SageMaker passes it on."""
    if isinstance(answer, Whole):
        return answer
    return Stream([Event(_parts(one.data), one.tokens) for one in answer.events], answer.bill)


def _parts(data: bytes) -> bytes:
    return b"".join(event("PayloadPart", data[at : at + PART]) for at in range(0, len(data), PART))
