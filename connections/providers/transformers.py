"""A Hugging Face checkpoint in a local folder, run by transformers in a process of ours."""

from collections.abc import Sequence
from typing import Literal

from connections.providers.calls import JSON, Mode, ModelInfo
from connections.providers.engine_dialect import Below, EngineDialect, FormatOptions, ModelId, model_id
from connections.providers.parameters import ParameterTable
from connections.providers.settings import ProviderSettings, setting


class Transformers(EngineDialect):
    kind = "transformers"
    label = "Transformers checkpoint"
    summary = "Any causal or sequence-to-sequence checkpoint in a local folder."
    mark = "transformers"
    order = 20
    engine = "transformers"
    docs_url = "https://huggingface.co/docs/transformers/main_classes/text_generation"
    parameters = ParameterTable.of(
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "stop",
        "seed",
        "repetition_penalty",
        "encoding_format",
        "typical_p",
        "no_repeat_ngram_size",
        "num_beams",
        "length_penalty",
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
        device: Literal["auto", "cpu", "cuda", "mps"] = setting(
            "Device", default="auto", help="auto: a graphics processor if there is one.", advanced=True
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
        return [ModelInfo(self._id, mode) for mode in (Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING)]
