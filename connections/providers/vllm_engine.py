"""A checkpoint in a local folder, run by vLLM in a process of ours, on a graphics processor."""

from collections.abc import Sequence
from typing import Literal

from connections.providers.calls import JSON, Mode, ModelInfo
from connections.providers.engine_dialect import Below, EngineDialect, FormatOptions, ModelId, model_id
from connections.providers.parameters import ParameterTable
from connections.providers.settings import ProviderSettings, setting


class VLLMEngine(EngineDialect):
    kind = "vllm_engine"
    label = "vLLM in process"
    summary = "A local checkpoint on this machine's graphics processors."
    mark = "vllm_engine"
    order = 30
    engine = "vllm"
    docs_url = "https://docs.vllm.ai/en/latest/configuration/engine_args.html"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION})
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
    )

    class Settings(ProviderSettings):
        folder: Below = setting(
            "Checkpoint folder",
            help="Below one of the folders in MESH_MODEL_FOLDERS. It holds config.json, a tokenizer and safetensors.",
            placeholder="tiny-llama",
            min_length=1,
        )
        model_id: ModelId = setting(
            "Model id", default="", help="How the model is called here. Empty: the folder's name.", advanced=True
        )
        dtype: Literal["auto", "float32", "float16", "bfloat16"] = setting(
            "Number format", default="auto", help="auto: as the checkpoint says.", advanced=True
        )
        context: int | None = setting(
            "Context (tokens)", default=None, help="Empty: as the checkpoint says.", advanced=True, ge=1, le=10_000_000
        )
        gpus: int = setting("Processors", default=1, help="Graphics processors to spread it over.", ge=1, le=64)
        gpu_memory: float = setting(
            "Share of their memory",
            default=0.9,
            help="What vLLM may take, from 0.05 to 1.",
            advanced=True,
            ge=0.05,
            le=1,
        )
        at_once: int = setting(
            "Requests at once", default=64, help="More wait for their turn.", advanced=True, ge=1, le=1024
        )
        chat_template: str = setting(
            "Chat template",
            default="",
            help="A Jinja template in place of the checkpoint's own. It is rendered in a sandbox.",
            advanced=True,
            max_length=50_000,
        )

    ModelOptions = FormatOptions

    settings: Settings

    def told(self) -> JSON:
        return {**super().told(), "model_id": self._id}

    @property
    def _id(self) -> str:
        return self.settings.model_id or model_id(self.settings.folder)

    def offered(self) -> Sequence[ModelInfo]:
        return [ModelInfo(self._id, mode) for mode in (Mode.CHAT, Mode.COMPLETION)]
