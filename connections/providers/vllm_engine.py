"""A checkpoint in a local folder, run by vLLM in a process of ours, on a graphics processor."""

from connections.providers.calls import Mode
from connections.providers.checkpoint import Checkpoint, CheckpointSettings
from connections.providers.engine_dialect import own_template
from connections.providers.parameters import ParameterTable
from connections.providers.settings import setting


class VLLMEngine(Checkpoint):
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

    class Settings(CheckpointSettings):
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
        chat_template: str = own_template(
            "A Jinja template in place of the checkpoint's own. It is rendered in a sandbox."
        )

    settings: Settings
