"""Signing in with Microsoft Entra ID: the settings that several providers share, and the proof made of them."""

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, SecretStr

from connections.providers import ambient
from connections.providers.calls import Answer, InThread, Steps
from connections.providers.errors import KeyRefused, Unreachable
from connections.providers.fields import HeaderText, Secret, Url, joined
from connections.providers.oauth import AccessToken, TokenRequest, client_credentials
from connections.providers.settings import ProviderSettings, setting

AUTHORITY = "https://login.microsoftonline.com"
IDENTITY_URL = "http://169.254.169.254/metadata/identity/oauth2/token"
"""Where a machine at Azure asks who it is; no connection's own address may ever be this one."""
TENANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")
PATIENCE = 5.0
MAX_ANSWER = 65_536
NOT_ALLOWED = (
    "This deployment does not lend the identity of its machines. Sign in by a client of your own, or let its"
    " operator set MESH_AMBIENT_IDENTITY=azure."
)


def _tenant(text: str) -> str:
    if text and not TENANT.fullmatch(text):
        raise ValueError("A tenant is an id as in 00000000-0000-0000-0000-000000000000, or a domain.")
    return text


def _authority(url: str) -> str:
    if "?" in url:
        raise ValueError("The authority is an address without a ? part.")
    return url


class EntraSettings(ProviderSettings):
    """What sign-in by Entra asks for, beside a provider's own settings."""

    tenant_id: Annotated[str, AfterValidator(_tenant)] = setting(
        "Entra: tenant", default="", help="The directory's id or domain.", target=True, advanced=True
    )
    client_id: HeaderText = setting(
        "Entra: client", default="", help="The id of the registered application, or of the identity.", advanced=True
    )
    client_secret: Secret = setting(
        "Entra: client secret", default=SecretStr(""), help="The secret's value, not its id.", advanced=True
    )
    scope: HeaderText = setting(
        "Entra: scope",
        default="",
        help="What the token is for. Empty: the service itself; gateways want their own, as in api://…/.default.",
        advanced=True,
    )
    authority: Annotated[Url, AfterValidator(_authority)] = setting(
        "Entra: authority",
        default=AUTHORITY,
        help="Another one for sovereign clouds, such as https://login.microsoftonline.us.",
        target=True,
        advanced=True,
        placeholder=AUTHORITY,
    )

    def client_problem(self) -> str:
        """What is missing for sign-in by a client of one's own."""
        if self.tenant_id and self.client_id and self.client_secret.get_secret_value():
            return ""
        return "Sign-in by Entra needs tenant, client and client secret."


def identity_problem() -> str:
    """Why this machine's own identity may not be used."""
    return "" if "azure" in ambient.allowed else NOT_ALLOWED


def client_token(settings: EntraSettings, scope: str, headers: Mapping[str, str]) -> AccessToken:
    """The proof of a registered application; `scope` where the settings name none."""
    url = joined(settings.authority or AUTHORITY, f"{settings.tenant_id}/oauth2/v2.0/token")
    secret = settings.client_secret.get_secret_value()
    request = client_credentials(url, settings.client_id, secret, settings.scope or scope, basic=False)
    return AccessToken(request, headers)


class MachineToken(AccessToken):
    """The proof of the machine we run on, a managed identity. Asked in a thread, because no connection may go there."""

    def __init__(
        self, scope: str, client_id: str = "", headers: Mapping[str, str] | None = None, *, url: str = IDENTITY_URL
    ) -> None:
        named = f"&client_id={quote(client_id, safe='')}" if client_id else ""
        resource = quote(scope.removesuffix(".default").removesuffix("/"), safe="")
        super().__init__(TokenRequest(f"{url}?api-version=2018-02-01&resource={resource}{named}", {}), headers)

    def _asked(self) -> Steps[Answer]:
        if problem := identity_problem():
            raise KeyRefused(problem)
        answer: Answer = yield InThread(lambda: _identity(self._request.url))
        return answer


def _identity(url: str) -> Answer:
    """Ask the one address that the transport refuses to everybody: it is ours, never a connection's."""
    import http.client as client  # noqa: PLC0415, TID251 - only connections that need it load it; see above

    parts = urlsplit(url)
    line = client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    try:
        line.request("GET", f"{parts.path}?{parts.query}", headers={"Metadata": "true"})
        answer = line.getresponse()
        return Answer(answer.status, {}, answer.read(MAX_ANSWER))
    except (OSError, client.HTTPException) as error:
        raise Unreachable("This machine's Azure identity could not be asked for a token.") from error
    finally:
        line.close()
