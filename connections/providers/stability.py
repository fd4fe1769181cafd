"""Stability AI: pictures, asked for by form. SDXL's older route takes JSON."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from connections.providers import images, multipart, problems, wire
from connections.providers.calls import JSON, Adjustment, Answer, Call, Mode, ModelInfo, Outgoing, Reply, Target
from connections.providers.contract import ONE_CHOICE, Abilities, Auth, EventReader, Provider, StaticHeaders
from connections.providers.errors import ContentFiltered, ProviderError
from connections.providers.fields import HeaderText, Secret, Url, in_path, joined
from connections.providers.images import Picture
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.settings import ProviderSettings, setting

BASE_URL = "https://api.stability.ai"
RATIOS = ("1:1", "16:9", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")
ROUTES = ("core", "ultra")
"""Models with a route of their own; all others are asked for by name at `sd3`."""
ENGINES = ("stable-diffusion-xl", "stable-diffusion-v1")
"""How the ids of models begin that only the older route serves."""
MAX_SEED = 4_294_967_294
FILTERED = "CONTENT_FILTERED"
"""Comes with HTTP 200 and a blurred picture."""

_COMMON = ParameterTable.of(
    "negative_prompt", "aspect_ratio", "size", "output_format", "style_preset", seed=Rule(minimum=0, maximum=MAX_SEED)
)
_SD3 = _COMMON.changed(cfg_scale=Rule(minimum=1, maximum=10))
_ENGINE = ParameterTable.of(
    "style_preset", "steps", "negative_prompt", "size", seed=Rule(minimum=0, maximum=MAX_SEED),
    n=Rule("samples", minimum=1, maximum=10), cfg_scale=Rule(minimum=0, maximum=35),
)  # fmt: skip


class _Artifact(msgspec.Struct):
    base64: str = ""
    reason: str = msgspec.field(default="", name="finishReason")


class _Answer(msgspec.Struct):
    image: str = ""
    finish_reason: str = ""
    artifacts: list[_Artifact] = []
    errors: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)


def _model(name: str, label: str, *, lifecycle: str = "", ends: str = "", replacement: str = "") -> ModelInfo:
    return ModelInfo(name, Mode.IMAGE, label, "stable-image", lifecycle=lifecycle, ends=ends, replacement=replacement)


class Stability(Provider):
    kind = "stability"
    label = "Stability AI"
    summary = "Stable Image and Stable Diffusion 3.5."
    mark = "stability"
    order = 55
    docs_url = "https://platform.stability.ai/account/keys"
    modes = frozenset({Mode.IMAGE})
    price_provider = "stability"
    parameters = _SD3
    catalogue = (
        _model("core", "Stable Image Core"),
        _model("ultra", "Stable Image Ultra"),
        _model("sd3.5-large", "Stable Diffusion 3.5 Large"),
        _model("sd3.5-large-turbo", "Stable Diffusion 3.5 Large Turbo"),
        _model("sd3.5-medium", "Stable Diffusion 3.5 Medium"),
        _model("sd3.5-flash", "Stable Diffusion 3.5 Flash"),
        _model("sd3-large", "Stable Diffusion 3 Large", lifecycle="deprecated", replacement="sd3.5-large"),
        _model(
            "sd3-large-turbo",
            "Stable Diffusion 3 Large Turbo",
            lifecycle="deprecated",
            replacement="sd3.5-large-turbo",
        ),
        _model("sd3-medium", "Stable Diffusion 3 Medium", lifecycle="deprecated", replacement="sd3.5-medium"),
    )

    class Settings(ProviderSettings):
        api_key: Secret = setting("API key", help="Begins with sk-.")
        base_url: Url = setting(
            "Base URL",
            default=BASE_URL,
            help="Change it only for a gateway that speaks Stability's dialect.",
            target=True,
            advanced=True,
            placeholder=BASE_URL,
        )
        client_id: HeaderText = setting(
            "Client id", default="", help="Names your application in Stability's records.", advanced=True
        )

    settings: Settings

    @property
    def auth(self) -> Auth:
        return StaticHeaders({"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"})

    def request(self, call: Call) -> Outgoing:
        if _is_engine(call.target):
            return self._engine_request(call)
        fields = _form(call, self.parameters_for(call.target))
        kind, body = multipart.encode({name: str(value) for name, value in fields.items()})
        route = call.target.upstream_id if call.target.upstream_id in ROUTES else "sd3"
        return self._post(f"v2beta/stable-image/generate/{route}", kind, body)

    def _engine_request(self, call: Call) -> Outgoing:
        body = wire.encode(_engine_body(call, _ENGINE))
        return self._post(f"v1/generation/{in_path(call.target.upstream_id)}/text-to-image", "application/json", body)

    def _post(self, path: str, kind: str, body: bytes) -> Outgoing:
        told = {"stability-client-id": self.settings.client_id} if self.settings.client_id else {}
        headers = {"Content-Type": kind, "Accept": "application/json", **told}
        return Outgoing("POST", joined(self._base_url, path), headers, body)

    @property
    def _base_url(self) -> str:
        return self.settings.base_url or BASE_URL

    def reply(self, call: Call, answer: Answer) -> Reply:
        secrets = self.secrets()
        found = wire.decode(_ANSWER, answer.body, secrets)
        if found.errors:
            raise problems.inside(wire.decode(wire.ANY, answer.body, secrets), secrets)
        drawn = found.artifacts or [_Artifact(found.image, found.finish_reason)]
        passed = [one for one in drawn if one.reason != FILTERED]
        if not all(one.base64 for one in passed):
            raise problems.unreadable(answer.body, secrets)
        return images.reply_of([Picture(one.base64) for one in passed], model=call.target.upstream_id)

    def events(self, call: Call) -> EventReader:
        raise NotImplementedError("Pictures are not streamed.")

    def problem(self, answer: Answer) -> ProviderError:
        """A refused prompt is a 403, as a refused key is."""
        error = problems.named(answer, self.secrets())
        if answer.status == 403 and b"content_moderation" in answer.body:
            return ContentFiltered(
                "The provider's content policy refused the prompt.", evidence=error.evidence, status=403
            )
        return error

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self._base_url, "v1/user/balance"))

    def parameters_for(self, target: Target) -> ParameterTable:
        if _is_engine(target):
            return _ENGINE
        return _COMMON if target.upstream_id in ROUTES else _SD3

    def abilities(self, target: Target) -> Abilities:
        return replace(ONE_CHOICE, streams=False, choices=10 if _is_engine(target) else 1)


def _is_engine(target: Target) -> bool:
    return target.upstream_id.startswith(ENGINES)


def _form(call: Call, table: ParameterTable) -> JSON:
    fields = _plain(table.apply(call))
    ratio = _ratio(call, fields.pop("size", None))
    if ratio:
        fields.setdefault("aspect_ratio", ratio)
    if call.target.upstream_id not in ROUTES:
        fields["model"] = call.target.upstream_id
    return fields


def _ratio(call: Call, size: Any) -> str:
    wanted = images.size_of(size)
    if wanted is None:
        if size:
            call.adjusted.append(Adjustment("size", "dropped"))
        return ""
    ratio = images.nearest_ratio(wanted, RATIOS)
    call.adjusted.append(Adjustment("size", f"sent as aspect ratio {ratio}"))
    return ratio


def _engine_body(call: Call, table: ParameterTable) -> JSON:
    fields = _plain(table.apply(call))
    texts = [{"text": fields.pop("prompt"), "weight": 1}]
    if negative := fields.pop("negative_prompt", None):
        texts.append({"text": negative, "weight": -1})
    if wanted := images.size_of(fields.pop("size", None)):
        fields["width"], fields["height"] = wanted
    return {"text_prompts": texts, **fields}


def _plain(body: Mapping[str, Any]) -> JSON:
    return {name: wire.plain(value) for name, value in body.items()}
