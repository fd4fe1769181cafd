"""Checkpoints in a local folder, whichever program runs them: one folder, one model."""

from collections.abc import Sequence
from typing import Literal

from connections.providers.calls import JSON, Mode, ModelInfo
from connections.providers.engine_dialect import Below, EngineDialect, FormatOptions, ModelId, model_id
from connections.providers.settings import ProviderSettings, setting


class CheckpointSettings(ProviderSettings):
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


class Checkpoint(EngineDialect):
    """Subclasses say which program runs it."""

    ModelOptions = FormatOptions

    settings: CheckpointSettings

    def told(self) -> JSON:
        return {**super().told(), "model_id": self._id}

    @property
    def _id(self) -> str:
        return self.settings.model_id or model_id(self.settings.folder)

    def offered(self) -> Sequence[ModelInfo]:
        return [ModelInfo(self._id, mode) for mode in Mode if mode in self.modes]
