"""Models in GGUF files, run by llama.cpp in a process of ours."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Self

from pydantic import model_validator

from connections.providers.calls import Mode, ModelInfo
from connections.providers.engine_dialect import Below, EngineDialect, FormatOptions, own_template
from connections.providers.llamacpp import LlamaCpp
from connections.providers.settings import ProviderSettings, setting


class GGUF(EngineDialect):
    kind = "gguf"
    label = "GGUF files"
    summary = "Open models in GGUF files on this machine, through llama.cpp."
    mark = "llamacpp"
    order = 10
    engine = "gguf"
    docs_url = "https://github.com/ggml-org/llama.cpp"
    parameters = LlamaCpp.parameters

    class Settings(ProviderSettings):
        files: list[Below] = setting(
            "GGUF files",
            help="Below one of the folders in MESH_MODEL_FOLDERS, one per line. Each becomes a model.",
            placeholder="SmolLM2-135M-Instruct.Q4_1.gguf",
            min_length=1,
            max_length=20,
        )
        context: int = setting(
            "Context (tokens)", default=4096, help="Of each request; more takes more memory.", ge=64, le=10_000_000
        )
        at_once: int = setting(
            "Requests at once", default=2, help="For each file; more wait for their turn.", advanced=True, ge=1, le=64
        )
        gpu_layers: int = setting(
            "Layers on the graphics processor",
            default=0,
            help="0: none. 999: all of them.",
            advanced=True,
            ge=0,
            le=999,
        )
        chat_template: str = own_template("A Jinja template in place of the one in the files. llama.cpp renders it.")

        @model_validator(mode="after")
        def _told_apart(self) -> Self:
            names = [_id(file) for file in self.files]
            if len(set(names)) < len(names):
                raise ValueError("Two of the files have the same name, which is the model's id.")
            return self

    ModelOptions = FormatOptions

    settings: Settings

    def offered(self) -> Sequence[ModelInfo]:
        return [
            ModelInfo(_id(file), mode, context=self.settings.context)
            for file in self.settings.files
            for mode in (Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING)
        ]


def _id(file: str) -> str:
    """As the engine offers it: never the path."""
    return PurePosixPath(file).stem.lower()
