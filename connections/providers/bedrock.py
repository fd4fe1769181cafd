"""AWS Bedrock: every chat model through its one chat API, all others by the JSON of their families."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlencode

from pydantic import AfterValidator, SecretStr

from connections.providers import aws_problems, wire
from connections.providers.aws import AwsProvider, AwsSettings, RegionalRequest, address
from connections.providers.bedrock_listing import foundation_models, inference_profiles
from connections.providers.bedrock_models import (
    CATALOGUE,
    base_name,
    family_for,
    known_name,
    region_of,
    sent_as,
    traits_of,
)
from connections.providers.bedrock_replies import ConverseReader, InvokedReader, converse_reply, usage_beside
from connections.providers.bedrock_requests import PARAMETERS, converse_body, table_for
from connections.providers.calls import JSON, Answer, Call, Framing, Mode, ModelInfo, Outgoing, Reply, Steps, Target
from connections.providers.contract import NOTHING, Abilities, EventReader, Provider, StaticHeaders
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.fields import Secret, Url, in_path, joined
from connections.providers.model_families import FAMILIES, GEO
from connections.providers.model_families.family import Family
from connections.providers.parameters import ParameterTable
from connections.providers.prompt_formats import PromptOptions, Rendered
from connections.providers.settings import ProviderSettings, setting

FAMILY_NAMES = ("", *FAMILIES)
PROFILE = re.compile(r"[a-z]{2,8}(-[a-z]{2,8})?")
GUARDRAIL = re.compile(r"[a-z0-9]+|arn:aws[a-z-]*:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+")
CONVERSE = Abilities(choices=1, image_urls=False)
CONVERSE_WHOLE = Abilities(streams=False, choices=1, image_urls=False)
NEEDS_PROFILE = re.compile(r"on-demand throughput", re.IGNORECASE)
USE_A_PROFILE = (
    "AWS offers this model only through an inference profile. Set one, such as us or eu, for the connection, "
    "or use the id of a profile as the model's id."
)
MAX_PAGES = 10
"""Of inference profiles, a thousand on each."""
WORDS = (
    (re.compile(r"model identifier is invalid", re.IGNORECASE), "model_not_found"),
    (re.compile(r"input is too long|too many (input )?tokens", re.IGNORECASE), "context_length_exceeded"),
)
"""What only the words of a refusal tell."""


def _profile(text: str) -> str:
    name = text.rstrip(".")
    if name and not PROFILE.fullmatch(name):
        raise ValueError("Write only what stands in front of the models' ids, such as us, eu or global.")
    return name


def _guardrail(text: str) -> str:
    if text and not GUARDRAIL.fullmatch(text):
        raise ValueError("Write the guardrail's id or its ARN.")
    return text


class Bedrock(AwsProvider):
    kind = "bedrock"
    label = "AWS Bedrock"
    summary = "Claude, Nova, Llama, Mistral, Titan, Stability and others on AWS."
    mark = "bedrock"
    order = 30
    docs_url = "https://docs.aws.amazon.com/bedrock/latest/userguide/security-iam.html"
    service = "bedrock"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING, Mode.IMAGE})
    catalogue = CATALOGUE
    price_provider = "aws"
    parameters = PARAMETERS
    framing = Framing.EVENT_STREAM

    class Settings(AwsSettings):
        api_key: Secret = setting(
            "Bedrock API key", default=SecretStr(""), help="Instead of access keys: a key of Bedrock's own."
        )
        inference_profile: Annotated[str, AfterValidator(_profile)] = setting(
            "Cross-region inference profile",
            default="",
            help="Put in front of every model's id, as in us.anthropic.claude…: us, eu, apac, jp, au, us-gov, ca or "
            "global. Not in front of ARNs and of ids that name a profile already.",
            placeholder="us",
        )
        control_url: Url = setting(
            "Control plane address",
            default="",
            help="Where models are listed; only for VPC, FIPS or private endpoints.",
            target=True,
            advanced=True,
        )
        guardrail: Annotated[str, AfterValidator(_guardrail)] = setting(
            "Guardrail", default="", help="Id or ARN of a guardrail that every call passes.", advanced=True
        )
        guardrail_version: Annotated[str, AfterValidator(str)] = setting(
            "Guardrail version",
            default="DRAFT",
            help="A number, or DRAFT.",
            advanced=True,
            pattern="DRAFT|[1-9][0-9]{0,7}",
        )
        guardrail_trace: Literal["disabled", "enabled", "enabled_full"] = setting(
            "Guardrail trace", default="disabled", help="Whether AWS tells what the guardrail did.", advanced=True
        )

        @property
        def has_other_proof(self) -> bool:
            return bool(self.credential or self.api_key.get_secret_value())

        def _key_problem(self) -> str:
            if self.api_key.get_secret_value() and (self.has_keys or self.credential or self.role_arn):
                return "Give a Bedrock API key or AWS keys, not both."
            return super()._key_problem()

    class ModelOptions(PromptOptions):
        family: Literal[FAMILY_NAMES] = setting(  # type: ignore[valid-type]
            "Family",
            default="",
            help="Whose JSON the model speaks, where its id does not tell: for ARNs of profiles, provisioned, custom "
            "and imported models.",
        )
        api: Literal["auto", "converse", "invoke"] = setting(
            "API",
            default="auto",
            help="converse: Bedrock's one chat API. invoke: the family's own JSON. auto: converse for chat models.",
            advanced=True,
        )
        without_profile: bool = setting(
            "Without the inference profile",
            default=False,
            help="Call the model by its own id even if the connection has a profile.",
            advanced=True,
        )

    settings: Settings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        told = self.settings
        if key := told.api_key.get_secret_value():
            self._auth = StaticHeaders({"Authorization": f"Bearer {key}"})
        self._guardrail: JSON = {}
        if told.guardrail:
            named = {"guardrailIdentifier": told.guardrail, "guardrailVersion": told.guardrail_version}
            self._guardrail = {**named, "trace": told.guardrail_trace}

    # --- every call ---

    def request(self, call: Call) -> Outgoing:
        family = self._family(call.target)
        if family is None:
            operation = "converse-stream" if call.stream else "converse"
            return self._outgoing(call, operation, converse_body(call, self._guardrail), {})
        operation = "invoke-with-response-stream" if call.stream else "invoke"
        accepted = {"X-Amzn-Bedrock-Accept" if call.stream else "Accept": "application/json"}
        return self._outgoing(call, operation, family.body(call), accepted | self._guardrail_headers())

    def _outgoing(self, call: Call, operation: str, body: JSON, headers: Mapping[str, str]) -> Outgoing:
        name = sent_as(call.target, self.settings.inference_profile)
        region = region_of(name, self.settings.region)
        base = self.settings.endpoint_url or address("bedrock-runtime", region)
        url = joined(base, f"model/{in_path(name)}/{operation}")
        return RegionalRequest("POST", url, {"Content-Type": "application/json", **headers}, wire.encode(body), region)

    def _guardrail_headers(self) -> JSON:
        if not self._guardrail:
            return {}
        told = self.settings
        return {
            "X-Amzn-Bedrock-GuardrailIdentifier": told.guardrail,
            "X-Amzn-Bedrock-GuardrailVersion": told.guardrail_version,
            "X-Amzn-Bedrock-Trace": told.guardrail_trace.upper(),
        }

    def reply(self, call: Call, answer: Answer) -> Reply:
        family = self._family(call.target)
        if family is None:
            return converse_reply(answer, self.secrets())
        return family.reply(call, answer.body, self.secrets(), usage_beside(answer.headers))

    def events(self, call: Call) -> EventReader:
        family = self._family(call.target)
        if family is None:
            return ConverseReader(self.secrets(), call.wants_usage)
        return InvokedReader(family.events(call, self.secrets()), self.secrets())

    def problem(self, answer: Answer) -> ProviderError:
        error = aws_problems.named(answer, self.secrets(), WORDS)
        if isinstance(error, RequestRefused) and NEEDS_PROFILE.search(error.evidence):
            aws_problems.retell(error, USE_A_PROFILE)
        return error

    # --- checks and lists ---

    def check(self) -> Outgoing:
        return self._control("foundation-models")

    def check_problem(self, answer: Answer) -> ProviderError | None:
        """Keys that may not list models, but are known, may still call them."""
        known = answer.status == 403 and aws_problems.code_of(answer) in {"AccessDenied", "AccessDeniedException"}
        return None if known else super().check_problem(answer)

    def models(self, answer: Answer) -> list[ModelInfo]:
        if answer.status >= 300:
            return []
        return foundation_models(answer.body, self.secrets(), profiled=bool(self.settings.inference_profile))

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        """The models, and the profiles through which they are offered."""
        found, token = self.models(answer), ""
        if answer.status >= 300:
            return found
        known = {info.id: info for info in (*self.catalogue, *found)}
        for _ in range(MAX_PAGES):
            told = {"maxResults": "1000", **({"nextToken": token} if token else {})}
            page = yield self._control("inference-profiles", urlencode(told))
            if page.status >= 300:  # they may be forbidden where models are not
                break
            profiles, token = inference_profiles(page.body, self.secrets(), known)
            found += profiles
            if not token:
                break
        return found

    def lists(self, name: str) -> bool:
        """Neither what an account made itself nor, for every account, the profiles."""
        return not name.startswith("arn:") and not GEO.match(name)

    def _control(self, path: str, query: str = "") -> Outgoing:
        base = self.settings.control_url or address("bedrock", self.settings.region)
        return Outgoing("GET", joined(base, path, query), {"Accept": "application/json"})

    # --- one model ---

    @classmethod
    def known(cls, name: str, mode: str) -> ModelInfo | None:
        return super().known(base_name(name), mode)

    def parameters_for(self, target: Target) -> ParameterTable:
        family = self._found_family(target)
        return family.parameters_for(target) if family else table_for(target)

    def abilities(self, target: Target) -> Abilities:
        family = self._found_family(target)
        if family:
            return family.abilities(target)
        return CONVERSE if traits_of(target).streams else CONVERSE_WHOLE

    def priced_as(self, target: Target) -> str:
        """A profile has its own price, so its prefix counts; where an ARN does not tell, the model behind it."""
        name = known_name(target)
        return name if name != target.upstream_id else sent_as(target, self.settings.inference_profile)

    def prompt(self, call: Call) -> Rendered:
        family = self._found_family(call.target)
        return family.prompt(call) if family else super().prompt(call)

    def _found_family(self, target: Target) -> Family | None:
        """The family by whose JSON the model is invoked; None: the chat API, or not known."""
        api = target.options.get("api", "auto")
        if target.mode is Mode.CHAT and api != "invoke":
            return None
        return FAMILIES.get(family_for(target))

    def _family(self, target: Target) -> Family | None:
        family = self._found_family(target)
        if family is None and (target.mode is not Mode.CHAT or target.options.get("api") == "invoke"):
            raise RequestRefused(
                "It is not known whose JSON this model speaks. Set its family in the model's settings.", status=400
            )
        if family is not None and family.mode is not target.mode:
            raise RequestRefused(
                f"This family's own JSON is for {family.mode}. Set the model's kind to that, or its API to auto.",
                status=400,
            )
        return family
