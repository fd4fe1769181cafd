"""Access tokens from Google, for a stored credential or for the identity that the deployment lends."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connections.providers import ambient
from connections.providers.calls import InThread, Steps
from connections.providers.errors import KeyRefused, Unreachable
from connections.providers.google_credentials import SCOPE, TOKEN_URL, Credential
from connections.providers.oauth import EARLY, USUAL_LIFE, AccessToken, TokenRequest

NOT_ALLOWED = (
    "This deployment lends no identity of its own to Google connections. Store a key, "
    "or let the operator list google in MESH_AMBIENT_IDENTITY."
)
SHORTEST = 30.0
"""Seconds; metadata servers hand out tokens until shortly before their end."""
NO_IDENTITY = "This machine has no Google identity that could sign in. The operator can give it one."


class GoogleToken(AccessToken):
    """The proof for a stored credential. Service accounts make a new statement for every token."""

    def __init__(
        self,
        credential: Credential,
        url: str = TOKEN_URL,
        quota_project: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credential, self._url = credential, url
        super().__init__(TokenRequest(url, {}), _project_header(quota_project or credential.quota_project), clock=clock)

    def secrets(self) -> list[str]:
        return [*super().secrets(), *self._credential.secrets()]

    def _renewed(self) -> Steps[None]:
        self._request = self._credential.token_request(self._url)
        try:
            yield from super()._renewed()
        except KeyRefused as error:
            if error.evidence.startswith("invalid_grant"):
                error.message = self._credential.refusal
                error.args = (error.message,)
            raise


@dataclass(frozen=True, slots=True)
class _Found:
    token: str = field(repr=False)
    life: float


class AmbientToken(AccessToken):
    """The proof of this machine's own identity, found by Google's library, which blocks while it looks."""

    def __init__(self, quota_project: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(TokenRequest("", {}), _project_header(quota_project), clock=clock)

    def _renewed(self) -> Steps[None]:
        if "google" not in ambient.allowed:
            raise KeyRefused(NOT_ALLOWED)
        found: _Found = yield InThread(_looked_up)
        self._former, self._token = self._token or self._former, found.token
        self._begun = self._clock()
        self._renew_at = self._begun + found.life


def _looked_up() -> _Found:
    import google.auth  # noqa: PLC0415 - heavy: only connections that need it load it
    import google.auth.exceptions  # noqa: PLC0415
    import google.auth.transport.requests  # noqa: PLC0415

    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
        credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    except google.auth.exceptions.TransportError as error:
        raise Unreachable("This machine's Google identity could not be asked for a token.") from error
    except google.auth.exceptions.GoogleAuthError as error:
        raise KeyRefused(NO_IDENTITY, evidence=type(error).__name__) from error
    return _Found(str(credentials.token), _life(credentials.expiry))


def _life(expiry: datetime | None) -> float:
    """Seconds for which the token is used; the library tells its end in UTC without saying so."""
    left = (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds() if expiry else USUAL_LIFE
    return max(left - EARLY, SHORTEST)


def _project_header(project: str) -> dict[str, str]:
    return {"x-goog-user-project": project} if project else {}
