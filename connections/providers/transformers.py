"""A Hugging Face checkpoint in a local folder, run by transformers in a process of ours."""

from typing import Literal

from connections.providers.checkpoint import Checkpoint, CheckpointSettings
from connections.providers.engine_dialect import own_template
from connections.providers.parameters import ParameterTable
from connections.providers.settings import setting


class Transformers(Checkpoint):
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

    class Settings(CheckpointSettings):
        device: Literal["auto", "cpu", "cuda", "mps"] = setting(
            "Device", default="auto", help="auto: a graphics processor if there is one.", advanced=True
        )
        chat_template: str = own_template(
            "A Jinja template in place of the checkpoint's own. It is rendered in a sandbox."
        )

    settings: Settings
