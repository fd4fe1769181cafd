"""Replicate: any public or private model as a prediction that is created, then streamed or asked after.

A model is named `owner/name` (an official one), `owner/name:version`, by a version's id alone, or
`deployments/owner/name`.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from connections.providers import problems, replicate_replies, wire
from connections.providers.calls import JSON, Answer, Call, Mode, ModelInfo, Outgoing, Pause, Reply, Steps, Target
from connections.providers.contract import NOTHING, Abilities, Auth, EventReader, Provider, StaticHeaders
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.fields import Secret, Url, joined
from connections.providers.prompt_formats import PromptOptions
from connections.providers.replicate_inputs import TABLE, Keys, input_of
from connections.providers.replicate_replies import RUNNING
from connections.providers.settings import ProviderSettings, setting

BASE_URL = "https://api.replicate.com/v1"
WAIT = "wait=10"
"""So long a request may wait for its answer. While it does, its prediction cannot be cancelled: that takes its id."""
EVERY = 0.5
OWN_HOSTS = (".replicate.com", ".replicate.net")
VERSION = re.compile(r"[0-9a-f]{64}")
PATH = re.compile(
    r"(?P<deployment>deployments/)?(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(:(?P<version>[0-9a-f]{64}))?", re.ASCII
)
COLLECTIONS: Mapping[str, Mode] = {"language-models": Mode.CHAT, "text-to-image": Mode.IMAGE}
"""What is listed; all public models would be far too many."""
TEXT = Abilities(choices=1, prompts=1)
IMAGES = Abilities(choices=1, streams=False)


class Replicate(Provider):
    kind = "replicate"
    label = "Replicate"
    summary = "Language and picture models by the prediction, official ones and your own."
    mark = "replicate"
    docs_url = "https://replicate.com/account/api-tokens"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.IMAGE})
    parameters = TABLE
    price_provider = "replicate"
    ModelOptions = PromptOptions
    catalogue = (
        ModelInfo("openai/gpt-5-mini", family="gpt", capabilities=frozenset({"system", "vision"})),
        ModelInfo("anthropic/claude-4.5-sonnet", family="claude", capabilities=frozenset({"system", "vision"})),
        ModelInfo("google/gemini-3-pro", family="gemini", capabilities=frozenset({"system", "vision"})),
        ModelInfo("deepseek-ai/deepseek-v3.1", family="deepseek"),
        ModelInfo("openai/gpt-oss-120b", family="gpt-oss"),
        ModelInfo("meta/meta-llama-3-70b-instruct", family="llama", capabilities=frozenset({"system"})),
    )

    class Settings(ProviderSettings):
        api_key: Secret = setting("API token", help="Begins with r8_.", min_length=1)
        base_url: Url = setting(
            "Base URL",
            default=BASE_URL,
            help="Change it only for a proxy of your own.",
            target=True,
            advanced=True,
            placeholder=BASE_URL,
            min_length=1,
        )

    settings: Settings

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING) -> None:
        super().__init__(settings, lent)
        self._auth = StaticHeaders({"Authorization": f"Bearer {self.settings.api_key.get_secret_value()}"})
        self._secrets = self.secrets()
        self._keys: dict[str, Keys] = {}
        """What each model takes, once its schema was read."""

    @property
    def auth(self) -> Auth:
        return self._auth

    def _get(self, path: str) -> Outgoing:
        return Outgoing("GET", joined(self.settings.base_url, path))

    # --- every call ---

    def request(self, call: Call) -> Outgoing:
        """Create the prediction, with the keys that the model is known to take."""
        path, version = _place_of(call.target.upstream_id)
        body: JSON = {"input": input_of(call, self._keys.get(call.target.upstream_id)), **version}
        headers = {"Content-Type": "application/json"}
        if call.stream:
            body["stream"] = True
        else:
            headers["Prefer"] = WAIT
        return Outgoing("POST", joined(self.settings.base_url, path), headers, wire.encode(body))

    def steps(self, call: Call) -> Steps[Reply]:
        answer = yield from self._created(call)
        return (yield from self._finished(call, answer))

    def opening(self, call: Call) -> Steps[Outgoing | Reply]:
        """A version that cannot stream has no address for it; its answer is awaited."""
        answer = yield from self._created(call)
        found = replicate_replies.prediction(answer.body, self._secrets)
        url = found.urls.get("stream") if isinstance(found.urls, dict) else None
        if isinstance(url, str) and found.status in RUNNING and self._is_ours(url):
            return Outgoing("GET", url, {"Accept": "text/event-stream", "Cache-Control": "no-store"})
        return (yield from self._finished(call, answer))

    def _created(self, call: Call) -> Steps[Answer]:
        if call.target.upstream_id not in self._keys:
            yield from self._read_schema(call.target.upstream_id)
        answer: Answer = yield self.request(call)
        if answer.status >= 300:
            raise self.problem(answer)
        found = replicate_replies.prediction(answer.body, self._secrets)
        call.on_leave = Outgoing("POST", joined(self.settings.base_url, f"predictions/{found.id}/cancel"))
        return answer

    def _finished(self, call: Call, answer: Answer) -> Steps[Reply]:
        found = replicate_replies.prediction(answer.body, self._secrets)
        while found.status in RUNNING:
            yield Pause(EVERY)
            answer = yield self._get(f"predictions/{found.id}")
            if answer.status >= 300:
                raise self.problem(answer)
            found = replicate_replies.prediction(answer.body, self._secrets)
        call.on_leave = None
        return self.reply(call, answer)

    def _is_ours(self, url: str) -> bool:
        """Whether the token may be sent there: a stream has a host of its own."""
        parts, own = urlsplit(url), urlsplit(self.settings.base_url)
        return (parts.scheme, parts.netloc) == (own.scheme, own.netloc) or (
            parts.scheme == "https" and (parts.hostname or "").endswith(OWN_HOSTS) and "@" not in parts.netloc
        )

    # --- what a model takes ---

    def _read_schema(self, upstream_id: str) -> Steps[None]:
        """Learn the input keys of a model; without a schema the usual ones are used."""
        place = PATH.fullmatch(upstream_id)
        if place is None:  # a version's id alone says nothing of its model
            return
        name, version = place["name"], place["version"]
        if place["deployment"]:
            release = (yield from self._told(f"deployments/{name}")).get("current_release")
            release = release if isinstance(release, dict) else {}
            name, version = str(release.get("model") or ""), str(release.get("version") or "")
            if not PATH.fullmatch(f"{name}:{version}"):
                return
        told = yield from self._told(f"models/{name}/versions/{version}" if version else f"models/{name}")
        self._keys[upstream_id] = _keys(told if version else told.get("latest_version"))

    def _told(self, path: str) -> Steps[Mapping[str, Any]]:
        answer = yield self._get(path)
        if answer.status in problems.NO_SUCH_ROUTE:
            return {}
        if answer.status >= 300:
            raise self.problem(answer)
        content = wire.decode(wire.ANY, answer.body, self._secrets)
        return content if isinstance(content, dict) else {}

    # --- answers ---

    def reply(self, call: Call, answer: Answer) -> Reply:
        return replicate_replies.reply(call, answer.body, self._secrets)

    def events(self, call: Call) -> EventReader:
        return replicate_replies.Text(call, self._secrets)

    def problem(self, answer: Answer) -> ProviderError:
        return problems.named(answer, self._secrets)

    def abilities(self, target: Target) -> Abilities:
        return IMAGES if target.mode is Mode.IMAGE else TEXT

    # --- checks and models ---

    def check(self) -> Outgoing:
        return self._get("account")

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        found = []
        for name, mode in COLLECTIONS.items():
            told = yield from self._told(f"collections/{name}")
            listed = told.get("models")
            found += (
                [_info(item, mode) for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
            )
        return found


def _place_of(upstream_id: str) -> tuple[str, JSON]:
    """Where a prediction is created, and the version that its body names."""
    if VERSION.fullmatch(upstream_id):
        return "predictions", {"version": upstream_id}
    place = PATH.fullmatch(upstream_id)
    if place is None or (place["deployment"] and place["version"]):
        raise RequestRefused(
            "A model at Replicate is written owner/name, owner/name:version, as a version's id of 64 letters and "
            "digits, or deployments/owner/name."
        )
    if place["version"]:
        return "predictions", {"version": place["version"]}
    return f"{place['deployment'] or 'models/'}{place['name']}/predictions", {}


def _keys(version: Any) -> Keys:
    """The input keys that a version's schema names."""
    found = version
    for step in ("openapi_schema", "components", "schemas", "Input", "properties"):
        found = found.get(step) if isinstance(found, dict) else None
    return frozenset(found) if isinstance(found, dict) and found else None


def _info(item: Mapping[str, Any], mode: Mode) -> ModelInfo:
    version = item.get("latest_version")
    official = item.get("is_official") is not False
    suffix = f":{version['id']}" if not official and isinstance(version, dict) and version.get("id") else ""
    return ModelInfo(f"{item.get('owner')}/{item.get('name')}{suffix}", mode)
