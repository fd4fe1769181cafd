"""A model written as a Python class (as distilabel and DB-GPT have them), run in a process of ours."""

from collections.abc import Sequence
from typing import Any

from connections.providers import wire
from connections.providers.calls import Call, Mode, ModelInfo, Target
from connections.providers.contract import Abilities
from connections.providers.custom_class import Arguments, ClassSettings, CustomClass
from connections.providers.errors import RequestRefused
from connections.providers.parameters import ParameterTable
from connections.providers.settings import setting


class PythonClass(CustomClass):
    kind = "python_class"
    label = "Python class"
    summary = "A class of your own with load() and generate()."
    mark = "python_class"
    order = 50
    engine = "python"
    parameters = ParameterTable.of(
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "stop",
        "seed",
        "n",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logit_bias",
        "response_format",
        "reasoning_effort",
        "encoding_format",
        "runtime_parameters",
    )

    class Settings(ClassSettings):
        runtime_parameters: Arguments = setting(
            "Runtime parameters",
            default={},
            help="Arguments of generate() for every call, one per line; a request may say otherwise. "
            "The connection's page lists what the running class takes.",
            advanced=True,
        )

    settings: Settings

    def body(self, call: Call) -> dict[str, Any]:
        """The connection's runtime parameters, under those of the request."""
        body = super().body(call)
        sent = body.pop("runtime_parameters", None)
        if call.mode is Mode.EMBEDDING:
            return body
        own = {} if sent is None else wire.plain(sent)
        if not isinstance(own, dict):
            raise RequestRefused("`runtime_parameters` must be an object with the arguments of generate().")
        together = {**self.settings.runtime_parameters, **own}
        return {**body, "runtime_parameters": together} if together else body

    def abilities(self, target: Target) -> Abilities:
        return Abilities(streams=False, choices=128, prompts=1)

    def told(self) -> dict[str, Any]:
        """Runtime parameters go with each request, so changing them loads nothing anew."""
        return {name: value for name, value in super().told().items() if name != "runtime_parameters"}

    def offered(self) -> Sequence[ModelInfo]:
        return [ModelInfo(self.model_id, mode) for mode in (Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING)]
