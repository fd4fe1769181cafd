"""What all services of AWS have in common: where they are, and how a connection proves who asks."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Protocol, Self, runtime_checkable

from pydantic import AfterValidator, SecretStr, model_validator

from connections.providers import ambient, aws_problems
from connections.providers.aws_keys import AssumedRole, AwsKeys, HostKeys, KeySource, Role, TypedKeys, signed, signer
from connections.providers.calls import Answer, Outgoing, Steps
from connections.providers.contract import NOTHING, Auth, Provider
from connections.providers.fields import Secret, Url
from connections.providers.settings import ProviderSettings, setting

REGION = re.compile(r"[a-z]{2,5}(-[a-z]{2,12}){1,3}-[0-9]{1,2}")
ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,512}")
KEY_ID = re.compile(r"[A-Z0-9]{16,128}")
KEY_ID_RULE = "An access key ID has 16 or more characters: capital letters and digits only."
EXTERNAL_ID = re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}")
SUFFIXES: Mapping[str, str] = {
    "cn-": "amazonaws.com.cn",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "eusc-": "amazonaws.eu",
}
"""By the beginning of a region, where it is not amazonaws.com."""
OWN_IDENTITY = "This machine's own identity is used only where MESH_AMBIENT_IDENTITY lists aws."
NO_KEYS_OF_ITS_OWN = f"Give an access key ID with its secret access key. {OWN_IDENTITY}"
NO_KEYS = f"Give an access key ID with its secret access key, or choose a shared AWS credential. {OWN_IDENTITY}"


def _matching(pattern: re.Pattern[str], problem: str) -> AfterValidator:
    def check(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text and not pattern.fullmatch(text):
            raise ValueError(problem)
        return value

    return AfterValidator(check)


Region = Annotated[str, _matching(REGION, "Write the region as AWS does, such as us-east-1.")]


def address(service: str, region: str) -> str:
    """Where a service answers in a region."""
    suffix = next((suffix for start, suffix in SUFFIXES.items() if region.startswith(start)), "amazonaws.com")
    return f"https://{service}.{region}.{suffix}"


class AwsKeySettings(ProviderSettings):
    """Keys of its own, and the role to assume with them."""

    no_keys: ClassVar[str] = NO_KEYS_OF_ITS_OWN
    """What is said when there are none."""

    region: Region = setting("Region", help="Such as us-east-1.", target=True, min_length=1, placeholder="us-east-1")
    access_key_id: Annotated[Secret, _matching(KEY_ID, KEY_ID_RULE)] = setting(
        "Access key ID", default=SecretStr(""), help="Begins with AKIA, or with ASIA when it is temporary."
    )
    secret_access_key: Secret = setting(
        "Secret access key", default=SecretStr(""), help="Shown once by AWS, when the key is made."
    )
    session_token: Secret = setting(
        "Session token", default=SecretStr(""), help="Only for temporary keys (ASIA…).", advanced=True
    )
    role_arn: Annotated[str, _matching(ROLE, "Write the role as arn:aws:iam::123456789012:role/name.")] = setting(
        "Role to assume",
        default="",
        help="Its temporary keys sign the calls; the keys above only ask for them.",
        advanced=True,
        placeholder="arn:aws:iam::123456789012:role/llm-mesh",
    )
    external_id: Annotated[
        str, _matching(EXTERNAL_ID, "An external ID has 2 to 1,224 letters, digits and =,.@:/-.")
    ] = setting("External ID", default="", help="If the role's trust policy asks for one.", advanced=True)
    role_seconds: int = setting(
        "Length of a role's session",
        default=3600,
        help="Seconds that keys of the role hold; new ones are fetched five minutes before. The role sets the most.",
        advanced=True,
        ge=900,
        le=43_200,
    )
    sts_url: Url = setting(
        "STS address",
        default="",
        help="Only for private endpoints of the Security Token Service; empty: the region's own.",
        target=True,
        advanced=True,
        placeholder="https://sts.us-east-1.amazonaws.com",
    )

    @property
    def has_keys(self) -> bool:
        return bool(self.access_key_id.get_secret_value())

    @property
    def has_other_proof(self) -> bool:
        """Whether calls need no keys of its own at all."""
        return False

    @property
    def uses_host(self) -> bool:
        return not self.has_keys and not self.has_other_proof

    @model_validator(mode="after")
    def _can_prove_itself(self) -> Self:
        if problem := self._key_problem():
            raise ValueError(problem)
        return self

    def _key_problem(self) -> str:
        key_id, secret, token = (
            value.get_secret_value() for value in (self.access_key_id, self.secret_access_key, self.session_token)
        )
        if bool(key_id) != bool(secret):
            return "The access key ID and the secret access key belong together: give both or neither."
        if token and not key_id:
            return "A session token needs the access key that it came with."
        if key_id.startswith("ASIA") and not token:
            return "A temporary access key (ASIA…) needs its session token."
        if self.external_id and not self.role_arn:
            return "An external ID needs the role that it is for."
        return self.no_keys if self.uses_host and "aws" not in ambient.allowed else ""


class AwsSettings(AwsKeySettings):
    """For a service: keys of its own, or another connection that lends them."""

    no_keys: ClassVar[str] = NO_KEYS

    credential: str = setting(
        "Shared AWS credential",
        default="",
        help="Another connection whose keys sign the calls of this one, instead of keys of its own.",
        connection="aws_credential",
    )
    endpoint_url: Url = setting(
        "Endpoint address",
        default="",
        help="Only for VPC, FIPS or private endpoints; empty: the region's own.",
        target=True,
        advanced=True,
    )

    @property
    def has_other_proof(self) -> bool:
        return bool(self.credential)

    def _key_problem(self) -> str:
        if self.credential and self.has_keys:
            return "Give keys of its own or choose a shared AWS credential, not both."
        return super()._key_problem()


@runtime_checkable
class LendsKeys(Protocol):
    """What a provider has whose keys others may sign with."""

    keys: KeySource


class RegionalRequest(Outgoing, frozen=True):
    """A request to another region than the connection's."""

    region: str = ""


class AwsAuth:
    """Signs each request for one service (signature version 4)."""

    def __init__(self, keys: KeySource, service: str, region: str) -> None:
        self._keys, self._service, self._region = keys, service, region
        signer()

    def renewal(self) -> Steps[None] | None:
        return self._keys.renewal()

    def sign(self, outgoing: Outgoing) -> Outgoing:
        region = outgoing.region if isinstance(outgoing, RegionalRequest) else self._region
        return signed(outgoing, self._keys, self._service, region)

    def refused(self, answer: Answer) -> bool:
        return aws_problems.expired(answer) and self._keys.forget()


class AwsProvider(Provider):
    """The base of the services: who signs, and which secrets there are."""

    service: ClassVar[str]
    """As signatures name it."""

    settings: AwsKeySettings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        self.keys = self._source()
        self._auth: Auth = AwsAuth(self.keys, self.service, self.settings.region)

    @property
    def auth(self) -> Auth:
        return self._auth

    @property
    def sts_address(self) -> str:
        return f"{(self.settings.sts_url or address('sts', self.settings.region)).rstrip('/')}/"

    def secrets(self) -> list[str]:
        """The temporary keys too."""
        keys = self.keys.current()
        temporary = [keys.id, keys.secret, keys.token] if keys and not isinstance(self.keys, TypedKeys) else []
        return super().secrets() + list(filter(None, temporary))

    def _source(self) -> KeySource:
        base, told = self._base(), self.settings
        if not told.role_arn:
            return base
        role = Role(told.role_arn, told.external_id, told.role_seconds)
        return AssumedRole(base, role, self.sts_address, told.region)

    def _base(self) -> KeySource:
        told, lender = self.settings, self.lent.get("credential")
        if isinstance(lender, LendsKeys):
            return lender.keys
        if told.uses_host:
            return HostKeys()
        token = told.session_token.get_secret_value()
        return TypedKeys(
            AwsKeys(told.access_key_id.get_secret_value(), told.secret_access_key.get_secret_value(), token)
        )
