"""Models that run in an engine process of ours: OpenAI's dialect, at an address that only we know."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator

from connections.providers import wire
from connections.providers.calls import JSON, Answer, Call, Mode, ModelInfo, Outgoing, Target
from connections.providers.contract import NOTHING, Abilities, Provider
from connections.providers.errors import EngineStopped, ProviderError
from connections.providers.openai_dialect import DialectOptions, OpenAIDialect
from connections.providers.parameters import ParameterTable
from connections.providers.prompt_table import Name
from connections.providers.settings import ProviderSettings, setting

NOWHERE = "http://engine.invalid/v1"
"""Stands where an address will be; nothing is ever sent there."""
LONGEST_NAME = 300
MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a running engine listens, and the key it asks for."""

    url: str
    key: str = field(repr=False)


def _below(name: str) -> str:
    """A name below one of the folders of the deployment; the engine looks where links lead."""
    path = PurePosixPath(name)
    if not name.isprintable() or "\\" in name or len(name) > LONGEST_NAME:
        raise ValueError("The name has characters that no file of ours has, or is too long.")
    if path.is_absolute() or name.startswith(("~", "$")) or {"..", ""} & set(name.split("/")):
        raise ValueError("Give the name below one of the folders in MESH_MODEL_FOLDERS, as in models/tiny-llama.")
    return str(path)


def _model_id(name: str) -> str:
    if name and not MODEL_ID.fullmatch(name):
        raise ValueError("A model id here has small letters, digits, dots, dashes and underscores.")
    return name


Below = Annotated[str, AfterValidator(_below)]
ModelId = Annotated[str, AfterValidator(_model_id)]


def own_template(help: str) -> Any:
    return setting("Chat template", default="", help=help, advanced=True, max_length=50_000)


class FormatOptions(DialectOptions):
    """For engines that write conversations down themselves."""

    prompt_format: Literal["", Name] = setting(
        "Prompt format",
        default="",
        help="How a conversation is written down as one text. Empty: the checkpoint's own chat template.",
        advanced=True,
    )


class EngineDialect(OpenAIDialect):
    """Everything but the settings. Subclasses say which program runs and what it offers."""

    engine: ClassVar[str]
    group = "in_process"
    price_provider = "local"
    parameters = ParameterTable.of("temperature", "top_p", "max_tokens", "stop", "seed", "encoding_format")

    def __init__(
        self, settings: ProviderSettings, lent: Mapping[str, Provider] = NOTHING, place: Place | None = None
    ) -> None:
        self.place = place
        super().__init__(settings, lent)

    def at(self, place: Place | None) -> Self:
        return type(self)(self.settings, self.lent, place)

    @property
    def base_url(self) -> str:
        return f"{self.place.url}/v1" if self.place else NOWHERE

    def sign_in(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.place.key}"} if self.place else {}

    def secrets(self) -> list[str]:
        return [*super().secrets(), *([self.place.key] if self.place else [])]

    def request(self, call: Call) -> Outgoing:
        self._demand_running()
        return super().request(call)

    def check(self) -> Outgoing:
        self._demand_running()
        return super().check()

    def _demand_running(self) -> None:
        if self.place is None:
            raise EngineStopped(f"The engine of this {self.label} connection is not running.")

    def body(self, call: Call) -> dict[str, Any]:
        """A conversation in a prompt format goes as one text, which the engine does not template again."""
        body = super().body(call)
        if call.mode is Mode.CHAT and call.target.options.get("prompt_format"):
            rendered = self.prompt(call)
            given = wire.plain(body.get("stop") or [])
            texts = [given] if isinstance(given, str) else list(given)
            body = {name: value for name, value in body.items() if name != "messages"}
            body |= {"prompt": rendered.text, "stop": list(dict.fromkeys([*texts, *rendered.stops]))}
        return body

    def problem(self, answer: Answer) -> ProviderError:
        error = super().problem(answer)
        if answer.status == 503:
            error.message = "The engine is still loading its model, or has too much to do."
            error.args = (error.message,)
        return error

    def abilities(self, target: Target) -> Abilities:
        return Abilities(choices=128 if self.parameters_for(target).takes("n") else 1, prompts=1)

    def told(self) -> JSON:
        """What the program is told of the settings."""
        return self.settings.model_dump(mode="json", exclude=set(self.Settings.secret_names()))

    def offered(self) -> Sequence[ModelInfo]:
        """What it will serve, known before it runs."""
        raise NotImplementedError


def model_id(path: str) -> str:
    """The id under which a model is offered: its folder's or file's name, never its path."""
    name = re.sub(r"[^a-z0-9._-]+", "-", PurePosixPath(path).name.lower()).strip("-._")
    return name[:100] or "model"
