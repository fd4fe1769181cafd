"""Judges the signature of a request as it arrived, byte for byte, the way AWS does."""

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.upstream.wire import Request

KEY_ID = "AKIACANARY7QE2ZKV9TX"
SECRET = "canary/Secret+4LmB1Qe2ZkV9tXw7rTyUiOpAsDfG"


def problem(request: Request, *, service: str, region: str = "us-east-1", secret: str = SECRET, token: str = "") -> str:
    """What is wrong with the request's proof; empty: nothing."""
    told = request.headers.get("authorization", "")
    if not told.startswith("AWS4-HMAC-SHA256 "):
        return "Missing Authentication Token"
    parts = dict(part.split("=", 1) for part in told.removeprefix("AWS4-HMAC-SHA256 ").split(", "))
    key_id, _, scope = parts["Credential"].partition("/")
    names = parts["SignedHeaders"].split(";")
    if not {"host", "x-amz-date"} <= set(names):
        return "host and x-amz-date must be signed"
    if token != request.headers.get("x-amz-security-token", "") or (token and "x-amz-security-token" not in names):
        return "The security token included in the request is invalid"
    arrived = AWSRequest(request.method, f"https://{request.headers['host']}{request.path}", data=request.body)
    for name in names:
        arrived.headers[name] = request.headers[name]
    arrived.context["timestamp"] = request.headers["x-amz-date"]
    judge = SigV4Auth(Credentials(key_id, secret), service, region)
    if scope != judge.credential_scope(arrived):
        return f"Credential should be scoped to {judge.credential_scope(arrived)}, not {scope}"
    expected = judge.signature(judge.string_to_sign(arrived, judge.canonical_request(arrived)), arrived)
    return "" if parts["Signature"] == expected else "The request signature we calculated does not match"
