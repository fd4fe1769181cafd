"""Access tokens by OAuth 2: asked for with a client's secret or a refresh token, renewed before they run out.

The token lives in memory only. Nothing here talks: whoever sends takes the steps of `renewal`.
"""

import base64
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec
from msgspec import structs

from connections.providers import problems
from connections.providers.calls import Answer, Outgoing, Steps
from connections.providers.errors import KeyRefused, ProviderError, Temporary
from connections.providers.scrubbing import scrub

EARLY = 300.0
"""Seconds before its end at which a token is renewed; a short one at half its life."""
PATIENCE = 60.0
"""Seconds after a refusal in which no other one costs the new token: it may be about the one before."""
USUAL_LIFE = 3600.0
"""Where the service does not say how long its token lives."""
LONGEST_TOKEN = 32_768

SENTENCES: Mapping[str, str] = {
    "invalid_client": "The token service refused the client. Check client id and client secret; secrets expire.",
    "invalid_scope": "The token service does not know the scope. Check how it is written.",
    "invalid_grant": "The token service refused what was presented: it has expired or was revoked. Store a new one.",
    "unauthorized_client": "The token service does not know this client, or does not let it sign in by itself.",
    "unsupported_grant_type": "The token service does not offer this way of signing in.",
    "invalid_resource": "The token service does not know what the token is asked for. Check the scope.",
    "access_denied": "The token service denied the access. Give the client its rights there.",
}
"""By the error names of RFC 6749."""
REFUSED = "The token service gave no token. Check the address, the ids and the secret."
UNREADABLE = "The token service answered in a form we cannot read. Check its address."
BUSY = "The token service failed to answer. Try again later."


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """How one asks for a token: a form, posted."""

    url: str
    form: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def outgoing(self) -> Outgoing:
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return Outgoing("POST", self.url, {**kind, **self.headers}, urlencode(self.form).encode())


def client_credentials(url: str, client_id: str, client_secret: str, scope: str = "", *, basic: bool) -> TokenRequest:
    """A client asks for itself; `basic`: it names itself in the Authorization header, not in the form."""
    form = {"grant_type": "client_credentials", "scope": scope}
    return _request(url, form, client_id, client_secret, basic=basic)


def refresh_token(
    url: str, token: str, client_id: str, client_secret: str = "", scope: str = "", *, basic: bool = False
) -> TokenRequest:
    """A client asks for a user who agreed once."""
    form = {"grant_type": "refresh_token", "refresh_token": token, "scope": scope}
    return _request(url, form, client_id, client_secret, basic=basic)


def _request(url: str, form: Mapping[str, str], client_id: str, client_secret: str, *, basic: bool) -> TokenRequest:
    headers = {}
    if basic:
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"  # as RFC 6749 says in 2.3.1
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        form = {**form, "client_id": client_id, "client_secret": client_secret}
    return TokenRequest(url, {name: value for name, value in form.items() if value}, headers)


class AccessToken:
    """The proof: a bearer token beside headers that stay the same, such as a gateway's subscription key."""

    def __init__(
        self,
        request: TokenRequest,
        headers: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._headers = dict(headers or {})
        self._clock = clock
        self._token = self._former = ""
        self._renew_at = self._forgotten_at = -math.inf

    def __repr__(self) -> str:
        return f"AccessToken({self._request!r})"

    def renewal(self) -> Steps[None] | None:
        return None if self._token and self._clock() < self._renew_at else self._renewed()

    def sign(self, outgoing: Outgoing) -> Outgoing:
        proof = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return structs.replace(outgoing, headers={**outgoing.headers, **self._headers, **proof})

    def refused(self, answer: Answer) -> bool:
        if answer.status != 401:
            return False
        if self._token and self._clock() - self._forgotten_at >= PATIENCE:
            self._former, self._token = self._token, ""
            self._forgotten_at = self._clock()
        return True

    def secrets(self) -> list[str]:
        """What must not show in the provider's words beside the settings' secrets; `Provider.secrets` adds it."""
        return [text for text in (self._token, self._former, self._request.form.get("refresh_token", "")) if text]

    def _renewed(self) -> Steps[None]:
        answer = yield from self._asked()
        told = _read(answer, [*self._presented(), *self.secrets()])
        token, life = told["access_token"], _life(told.get("expires_in"))
        self._former, self._token = self._token or self._former, token
        self._renew_at = self._clock() + life - min(EARLY, life / 2)
        if isinstance(told.get("refresh_token"), str) and "refresh_token" in self._request.form:
            form = {**self._request.form, "refresh_token": told["refresh_token"]}
            self._request = replace(self._request, form=form)

    def _asked(self) -> Steps[Answer]:
        answer: Answer = yield self._request.outgoing()
        return answer

    def _presented(self) -> list[str]:
        headers = [text.rpartition(" ")[2] for text in self._request.headers.values()]
        names = ("client_secret", "refresh_token", "apikey", "assertion", "password")
        return [*headers, *(self._request.form[name] for name in names if name in self._request.form)]


def _read(answer: Answer, secrets: list[str]) -> Mapping[str, Any]:
    """What the service says with its token. Raises KeyRefused, or what is Temporary."""
    try:
        told = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        told = None
    if answer.status >= 300:
        raise _refusal(answer, told, secrets)
    token = told.get("access_token") if isinstance(told, dict) else None
    if not isinstance(token, str) or not _fits_a_header(token):
        named = isinstance(told, dict) and "error" in told
        raise _refusal(answer, told, secrets) if named else KeyRefused(UNREADABLE, evidence=_said(answer, secrets))
    return told  # type: ignore[no-any-return]


def _refusal(answer: Answer, told: Any, secrets: list[str]) -> ProviderError:
    name = told.get("error") if isinstance(told, dict) else None
    evidence = _said(answer, secrets)
    if not (isinstance(name, str) and name in SENTENCES) and isinstance(
        busy := problems.named(answer, secrets), Temporary
    ):
        busy.message, busy.evidence = BUSY, evidence[:500]
        busy.args = (BUSY,)
        return busy
    if isinstance(name, str):
        return KeyRefused(SENTENCES.get(name, REFUSED), evidence=evidence, status=answer.status)
    return KeyRefused(REFUSED if told is not None else UNREADABLE, evidence=evidence, status=answer.status)


def _said(answer: Answer, secrets: list[str]) -> str:
    """Name and description of the error, else whatever words there are."""
    try:
        told = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        told = None
    if isinstance(told, dict) and "access_token" in told:
        return "An answer with an access token that cannot be sent."
    if isinstance(told, dict) and isinstance(told.get("error"), str):
        words = f"{told['error']}: {told.get('error_description') or told.get('error_summary') or ''}"
        return scrub(" ".join(words.split()), secrets).rstrip(": ")
    return problems.unreadable(answer.body, secrets).evidence


def _fits_a_header(token: str) -> bool:
    return 0 < len(token) <= LONGEST_TOKEN and token.isascii() and token.isprintable() and " " not in token


def _life(seconds: Any) -> float:
    """Some services write the number as text, some leave it out."""
    try:
        told = float(seconds)
    except (TypeError, ValueError):
        return USUAL_LIFE
    return told if 0 < told < 10 * 365 * 86_400 else USUAL_LIFE
