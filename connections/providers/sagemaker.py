"""Amazon SageMaker: any container behind a real-time endpoint, spoken to in the shape that its model's options name."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

from msgspec import structs
from pydantic import AfterValidator

from connections.providers import aws_problems, emulation, problems, sagemaker_problems, wire
from connections.providers.aws import AwsProvider, AwsSettings, address
from connections.providers.calls import (
    Answer,
    Call,
    Framing,
    Mode,
    ModelInfo,
    Outgoing,
    Reply,
    Steps,
    Target,
)
from connections.providers.contract import NOTHING, Abilities, EventReader, Provider
from connections.providers.errors import ModelMissing, Overloaded, ProviderError, RequestRefused
from connections.providers.fields import Url, joined
from connections.providers.parameters import COMMON, ParameterTable
from connections.providers.prompt_formats import Rendered
from connections.providers.sagemaker_options import SageMakerOptions
from connections.providers.sagemaker_shapes import Shape
from connections.providers.sagemaker_streams import PartReader
from connections.providers.settings import ProviderSettings, setting
from connections.providers.shapes import mapping, mappings, string

ENDPOINT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
NO_NAME = "An endpoint's name has up to 63 letters, digits and dashes: no slash, no ARN."
SERVING = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack"})
"""States in which an endpoint answers."""
STATE = re.compile("[A-Za-z]{1,40}")
PAGE, MAX_PAGES = 100, 50


def _endpoint(name: str) -> str:
    if name and not ENDPOINT.fullmatch(name):
        raise ValueError(NO_NAME)
    return name


class SageMaker(AwsProvider):
    kind = "sagemaker"
    label = "Amazon SageMaker"
    summary = "Models on endpoints of your own AWS account: JumpStart's, Hugging Face's, your own containers."
    mark = "sagemaker"
    order = 36
    group = "hosted"
    docs_url = "https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints.html"
    service = "sagemaker"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING})
    parameters = ParameterTable.of(*COMMON)
    framing = Framing.EVENT_STREAM
    checks_by_post = True
    price_provider = "sagemaker"
    """No price table has it: endpoints are paid by the hour, whatever model they serve."""
    ModelOptions: ClassVar[type[SageMakerOptions]] = SageMakerOptions

    class Settings(AwsSettings):
        control_url: Url = setting(
            "Control plane address",
            default="",
            help="Only for private endpoints of SageMaker's API, which lists and describes; empty: the region's own.",
            target=True,
            advanced=True,
        )
        check_endpoint: Annotated[str, AfterValidator(_endpoint)] = setting(
            "Endpoint to check",
            default="",
            help="Checks look at the state of this endpoint. Empty: they list all endpoints.",
            advanced=True,
        )

    settings: Settings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        told = self.settings
        self._runtime = told.endpoint_url or address("runtime.sagemaker", told.region)
        self._control = f"{(told.control_url or address('api.sagemaker', told.region)).rstrip('/')}/"
        self._known: dict[tuple[str, Mode], tuple[Mapping[str, Any], SageMakerOptions, Shape]] = {}

    # --- one model ---

    def _of(self, target: Target) -> tuple[SageMakerOptions, Shape]:
        """Its options and shape, read once: targets that come with the same options share them."""
        key = (target.upstream_id, target.mode)
        known = self._known.get(key)
        if known is None or known[0] is not target.options:
            options = self.ModelOptions.stored(target.options)
            known = self._known[key] = (target.options, options, options.shape_for(target.mode is Mode.EMBEDDING))
        return known[1], known[2]

    def parameters_for(self, target: Target) -> ParameterTable:
        return self._of(target)[1].parameters

    def abilities(self, target: Target) -> Abilities:
        options, shape = self._of(target)
        return shape.can if options.streaming else replace(shape.can, streams=False)

    def prompt(self, call: Call) -> Rendered:
        return self._of(call.target)[1].prompt(call)

    def _own(self, call: Call, shape: Shape) -> Call:
        """The call as the shape takes it, which may be for something else than the model was added for."""
        if call.mode in shape.modes:
            return call
        mode = next(iter(shape.modes))
        if not emulation.answers(call.mode, mode):
            raise RequestRefused(f"The shape of this endpoint is for {mode}, not for {call.mode}.")
        return emulation.in_own_mode(self, structs.replace(call, target=structs.replace(call.target, mode=mode)))

    # --- every call ---

    def request(self, call: Call) -> Outgoing:
        options, shape = self._of(call.target)
        if not ENDPOINT.fullmatch(call.target.upstream_id):
            raise RequestRefused(NO_NAME)
        action = "invocations-response-stream" if call.stream else "invocations"
        url = joined(self._runtime, f"endpoints/{call.target.upstream_id}/{action}")
        body = wire.encode(shape.body(self._own(call, shape)))
        return Outgoing("POST", url, _headers(call, options, shape), body)

    def reply(self, call: Call, answer: Answer) -> Reply:
        shape = self._of(call.target)[1]
        own = self._own(structs.replace(call, adjusted=[]), shape)
        reply = shape.reply(own, answer, self.secrets())
        return reply if own.mode is call.mode else emulation.reply_in(call.mode, reply)

    def events(self, call: Call) -> EventReader:
        shape = self._of(call.target)[1]
        own, secrets = self._own(structs.replace(call, adjusted=[]), shape), self.secrets()
        turned = _same if own.mode is call.mode else partial(emulation.chunk_in, call.mode)
        return PartReader(shape.events(own, secrets), shape.framing, turned, secrets)

    def problem(self, answer: Answer) -> ProviderError:
        return sagemaker_problems.named(answer, self.secrets())

    # --- checks and lists ---

    def check(self) -> Outgoing:
        name = self.settings.check_endpoint
        return self._asked("DescribeEndpoint", {"EndpointName": name}) if name else self._listed("")

    def check_problem(self, answer: Answer) -> ProviderError | None:
        """Keys that may only invoke are good keys: whoever may not list is known all the same."""
        if _denied(answer):
            return None
        if answer.status >= 300:
            return self._absent(self.problem(answer))
        if not self.settings.check_endpoint:
            return None
        state = string(mapping(wire.decode(wire.ANY, answer.body, self.secrets())), "EndpointStatus")
        if state in SERVING:
            return None
        told = f"is {state}" if STATE.fullmatch(state) else "is in a state we do not know"
        return Overloaded(f"The endpoint {self.settings.check_endpoint} {told}, not InService.")

    def _absent(self, error: ProviderError) -> ProviderError:
        name, region = self.settings.check_endpoint, self.settings.region
        if not name or type(error) is not RequestRefused:
            return error
        return ModelMissing(f"There is no endpoint {name} in {region}.", evidence=error.evidence, status=error.status)

    def models(self, answer: Answer) -> list[ModelInfo]:
        return [ModelInfo(name) for name in self._names(answer)]

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        """All endpoints that are in service, page by page; keys that may not list know the one that is checked."""
        found: list[ModelInfo] = []
        if self.settings.check_endpoint and answer.status < 300:
            found = self.models(answer)
            answer = yield self._listed("")
        if _denied(answer):
            return found
        found = self._page(answer)
        for _ in range(MAX_PAGES):
            more = string(mapping(wire.decode(wire.ANY, answer.body, self.secrets())), "NextToken")
            if not more:
                break
            answer = yield self._listed(more)
            found += self._page(answer)
        return found

    def _page(self, answer: Answer) -> list[ModelInfo]:
        if answer.status >= 300:
            raise self.problem(answer)
        return self.models(answer)

    def _names(self, answer: Answer) -> list[str]:
        content = mapping(wire.decode(wire.ANY, answer.body, self.secrets()))
        listed = content.get("Endpoints", [content] if "EndpointName" in content else None)
        if not isinstance(listed, list):
            raise problems.unreadable(answer.body, self.secrets())
        return [string(item, "EndpointName") for item in mappings(listed) if string(item, "EndpointName")]

    def _listed(self, token: str) -> Outgoing:
        asked = {"StatusEquals": "InService", "MaxResults": PAGE, "SortBy": "Name", "SortOrder": "Ascending"}
        return self._asked("ListEndpoints", {**asked, **({"NextToken": token} if token else {})})

    def _asked(self, operation: str, body: Mapping[str, Any]) -> Outgoing:
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"SageMaker.{operation}"}
        return Outgoing("POST", self._control, headers, wire.encode(body))


def _headers(call: Call, options: SageMakerOptions, shape: Shape) -> Mapping[str, str]:
    told = {
        "Content-Type": options.content_type or shape.content_type,
        "X-Amzn-SageMaker-Accept" if call.stream else "Accept": options.accept or shape.accept,
        "X-Amzn-SageMaker-Custom-Attributes": options.custom_attributes,
        "X-Amzn-SageMaker-Inference-Component": options.inference_component,
        "X-Amzn-SageMaker-Target-Variant": options.target_variant,
        "X-Amzn-SageMaker-Target-Model": options.target_model,
        "X-Amzn-SageMaker-Inference-Id": call.request_id[:64],
    }
    return {name: value for name, value in told.items() if value}


def _denied(answer: Answer) -> bool:
    return answer.status >= 300 and aws_problems.code_of(answer) == "AccessDeniedException"


def _same(chunk: bytes) -> bytes:
    return chunk
