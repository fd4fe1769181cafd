"""Whose keys sign requests to AWS: typed ones, those that a role lends, or this machine's own.

A source gives its keys and says how to get new ones; it asks nobody itself.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Protocol
from urllib.parse import urlencode

from msgspec import structs

from connections.providers import aws_problems
from connections.providers.calls import Answer, InThread, Outgoing, Steps
from connections.providers.errors import BadReply, KeyRefused, ProviderError, Temporary

EARLY = 300.0
"""Seconds before their end that keys are renewed."""
HOST_KEYS_LAST = 240.0
"""Seconds until the library is asked again; it renews them itself well before their end."""
SESSION_NAME = "llm-mesh"
"""How our calls are named in the account's CloudTrail."""
NO_TRUST = "AWS does not let these keys assume the role. Check the role's trust policy and the external ID."
TOLD = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")


@dataclass(frozen=True, slots=True)
class AwsKeys:
    id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    ends: float = float("inf")
    """Unix time."""

    @property
    def last(self) -> bool:
        return self.ends - time.time() > EARLY


class KeySource(Protocol):
    def current(self) -> AwsKeys | None: ...

    def renewal(self) -> Steps[None] | None:
        """The steps to new keys; None: those at hand hold."""

    def forget(self) -> bool:
        """The keys were refused as expired: whether there can be others."""


class TypedKeys:
    """Keys that an admin typed: they hold until somebody changes them."""

    def __init__(self, keys: AwsKeys) -> None:
        self._keys = keys

    def current(self) -> AwsKeys | None:
        return self._keys if self._keys.id else None

    def renewal(self) -> None:
        return None

    def forget(self) -> bool:
        return False


class HostKeys:
    """What botocore finds on this machine: environment, profile, role of the machine or the pod."""

    def __init__(self) -> None:
        self._found: Any = None
        self._keys: AwsKeys | None = None

    def current(self) -> AwsKeys | None:
        return self._keys

    def renewal(self) -> Steps[None] | None:
        return None if self._keys and self._keys.ends > time.time() else self._look()

    def forget(self) -> bool:
        self._found = self._keys = None
        return True

    def _look(self) -> Steps[None]:
        self._keys = yield InThread(self._resolved)

    def _resolved(self) -> AwsKeys:
        """Blocks: it may ask the machine's metadata service."""
        import botocore.session  # noqa: PLC0415 - heavy, and hardly ever needed
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - heavy

        try:
            self._found = self._found or botocore.session.get_session().get_credentials()
            keys = self._found.get_frozen_credentials() if self._found else None
        except BotoCoreError as error:
            raise KeyRefused("This machine's AWS identity could not be read.", evidence=str(error)) from error
        if keys is None:
            raise KeyRefused("This machine has no AWS identity. Give it a role, or the connection keys of its own.")
        return AwsKeys(keys.access_key, keys.secret_key, keys.token or "", time.time() + HOST_KEYS_LAST)


@dataclass(frozen=True, slots=True)
class Role:
    """What STS is asked for."""

    arn: str
    external_id: str
    duration: int
    """Seconds."""


class AssumedRole:
    """Temporary keys of a role, which the keys of `base` may assume."""

    def __init__(self, base: KeySource, role: Role, url: str, region: str) -> None:
        self._base, self._role, self._url, self._region = base, role, url, region
        self._keys: AwsKeys | None = None

    def current(self) -> AwsKeys | None:
        return self._keys

    def renewal(self) -> Steps[None] | None:
        return None if self._keys and self._keys.last else self._assume()

    def forget(self) -> bool:
        self._keys = None
        return True

    def _assume(self) -> Steps[None]:
        answer = yield from self._asked()
        if aws_problems.expired(answer) and self._base.forget():
            answer = yield from self._asked()
        try:
            self._keys = self._read(answer)
        except Temporary:
            if self._keys is None or self._keys.ends <= time.time():
                raise

    def _asked(self) -> Steps[Answer]:
        if steps := self._base.renewal():
            yield from steps
        asked = {"RoleArn": self._role.arn, "RoleSessionName": SESSION_NAME, "DurationSeconds": self._role.duration}
        optional = {"ExternalId": self._role.external_id} if self._role.external_id else {}
        answer: Answer = yield signed(sts(self._url, "AssumeRole", asked | optional), self._base, "sts", self._region)
        return answer

    def _read(self, answer: Answer) -> AwsKeys:
        if answer.status >= 300:
            raise self._problem(answer)
        key_id, secret, token, ends = (aws_problems.tag(answer.body, name) for name in TOLD)
        if not (key_id and secret and token):
            raise BadReply("AWS answered the wish to assume the role in a form we cannot read.")
        return AwsKeys(key_id, secret, token, _unix(ends))

    def _problem(self, answer: Answer) -> ProviderError:
        keys = self._base.current()
        error = aws_problems.named(answer, [keys.id, keys.secret, keys.token] if keys else [])
        if isinstance(error, KeyRefused) and aws_problems.code_of(answer) == "AccessDenied":
            aws_problems.retell(error, NO_TRUST)
        return error


def sts(url: str, action: str, parameters: Mapping[str, Any] | None = None) -> Outgoing:
    """A request to the Security Token Service, unsigned."""
    body = urlencode({"Action": action, "Version": "2011-06-15", **(parameters or {})}).encode()
    return Outgoing("POST", url, {"Content-Type": "application/x-www-form-urlencoded"}, body)


@cache
def signer() -> tuple[Any, Any, Any]:
    """The library that signs. It is loaded with the first connection that needs it, not with the first call."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - heavy
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - heavy
    from botocore.credentials import Credentials  # noqa: PLC0415 - heavy

    return SigV4Auth, AWSRequest, Credentials


def signed(outgoing: Outgoing, source: KeySource, service: str, region: str) -> Outgoing:
    """The request with its signature; what is signed is sent byte for byte."""
    sign_with, request_of, keys_of = signer()
    keys = source.current()
    if keys is None:
        raise KeyRefused("The connection has no AWS keys at hand.")
    request = request_of(outgoing.method, outgoing.url, dict(outgoing.headers), outgoing.body)
    sign_with(keys_of(keys.id, keys.secret, keys.token or None), service, region).add_auth(request)
    return structs.replace(outgoing, headers=dict(request.headers.items()))


def _unix(text: str) -> float:
    """Without a time that can be read, the keys last for no longer than the shortest duration."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return time.time() + 900
