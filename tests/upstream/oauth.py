"""A token service as Microsoft, Databricks and others run them: a form for a token that runs out.

Paths: `/oauth/<way>/token`, where the way is `post` (client in the form) or `basic` (client in the header). The secret
is the upstream's key. The tokens it gave are `Bearer` proofs for dialects that ask `accepts`.
"""

import base64
from urllib.parse import parse_qs, unquote_plus

from tests.upstream.compatible import Compatible
from tests.upstream.openai import Refused
from tests.upstream.wire import Plan, Request, Whole, dump

CLIENT = "mesh-client"
REFRESH = "refresh-canary-8dJq2Zx7"
FIELDS = {"grant_type", "scope", "client_id", "client_secret", "refresh_token"}
GRANTS = {"client_credentials", "refresh_token"}
TOKEN = "at-canary-"


def accepts(request: Request) -> bool:
    """Whether a request carries a token of ours."""
    return request.headers.get("authorization", "").startswith(f"Bearer {TOKEN}")


class OAuth:
    base = ""

    def handle(self, request: Request, plan: Plan, key: str) -> Whole:
        try:
            form = self._form(request)
            self._check_client(request, form, key)
            self._check_grant(form, key)
        except Refused as refusal:
            return self.refusal(refusal)
        answer = {"token_type": "Bearer", "expires_in": 3600, "access_token": f"{TOKEN}{plan.call_id}"}
        if form["grant_type"] == "refresh_token":
            answer["refresh_token"] = f"{REFRESH}-{plan.call_id}"
        return Whole(200, dump(answer), {"cache-control": "no-store"})

    def refusal(self, refused: Refused) -> Whole:
        return Whole(refused.status, dump({"error": refused.code, "error_description": refused.message}))

    def _form(self, request: Request) -> dict[str, str]:
        kind = request.headers.get("content-type")
        if (request.method, kind) != ("POST", "application/x-www-form-urlencoded"):
            raise Refused(400, "Post a form.", "invalid_request")
        form = {name: values[0] for name, values in parse_qs(request.body.decode(), strict_parsing=True).items()}
        if not form.keys() <= FIELDS or form.get("grant_type") not in GRANTS:
            raise Refused(400, f"Unknown fields or grant: {sorted(form)}", "invalid_request")
        return form

    def _check_client(self, request: Request, form: dict[str, str], key: str) -> None:
        given = (form.get("client_id"), form.get("client_secret"))
        header = request.headers.get("authorization")
        if request.route.startswith("/basic/"):
            if header is None or given != (None, None):
                raise Refused(401, "The client belongs into the header.", "invalid_client")
            name, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            given = (unquote_plus(name), unquote_plus(secret))
        elif header is not None:
            raise Refused(400, "Two proofs.", "invalid_request")
        if given != (CLIENT, key):
            raise Refused(401, f"AADSTS7000215: Invalid client secret provided: {given[1]}", "invalid_client")

    def _check_grant(self, form: dict[str, str], key: str) -> None:
        if form.get("scope", "").startswith("unknown"):
            raise Refused(400, f"AADSTS70011: The scope {form['scope']} is not valid.", "invalid_scope")
        if form["grant_type"] == "refresh_token" and not form.get("refresh_token", "").startswith(REFRESH):
            raise Refused(400, "The refresh token has expired.", "invalid_grant")


class Guarded(Compatible):
    """A server of OpenAI's dialect that takes nothing but the tokens of the service above."""

    def _check_key(self, request: Request, key: str) -> None:
        if not accepts(request):
            raise Refused(401, f"No such token: {request.headers.get('authorization')}.", "invalid_api_key")
