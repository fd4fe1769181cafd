"""The bodies of model families that are invoked by their own JSON: on Bedrock, SageMaker, Vertex, or an old route.

A host finds the family of a model, lets it make the body and read the answer, and adds address, proof and framing.
"""

import re
from collections.abc import Mapping

from connections.providers.model_families.claude_messages import ClaudeMessages
from connections.providers.model_families.claude_text import ClaudeText
from connections.providers.model_families.cohere_chat import CohereChat
from connections.providers.model_families.cohere_embed import CohereEmbed
from connections.providers.model_families.cohere_text import CohereText
from connections.providers.model_families.family import Family
from connections.providers.model_families.jurassic import Jurassic2
from connections.providers.model_families.llama import Llama2, Llama3
from connections.providers.model_families.mistral import Mistral, MistralChat
from connections.providers.model_families.stability import SDXL, StableImage
from connections.providers.model_families.titan_embed import TitanEmbed, TitanEmbedImage
from connections.providers.model_families.titan_image import TitanImage
from connections.providers.model_families.titan_text import TitanText

_ALL = (
    ClaudeText(),
    ClaudeMessages(),
    Jurassic2(),
    CohereText(),
    CohereChat(),
    CohereEmbed(),
    TitanText(),
    TitanEmbed(),
    TitanEmbedImage(),
    TitanImage(),
    Mistral(),
    MistralChat(),
    Llama2(),
    Llama3(),
    SDXL(),
    StableImage(),
)
FAMILIES: Mapping[str, Family] = {family.name: family for family in _ALL}
"""By the name that an admin chooses where a model's id does not tell."""

GEO = re.compile(r"^(us-gov|us|eu|apac|jp|au|ca|global)\.")
"""What stands before the ids of Bedrock's cross-region profiles."""
BEGINNINGS: Mapping[str, str] = {
    "claude-instant": "claude-text",
    "claude-v1": "claude-text",
    "claude-v2": "claude-text",
    "claude-1": "claude-text",
    "claude-2": "claude-text",
    "claude": "claude-messages",
    "j2-": "jurassic-2",
    "command-text": "cohere-command",
    "command-light": "cohere-command",
    "command-r": "cohere-command-r",
    "embed-": "cohere-embed",
    "titan-text": "titan-text",
    "titan-tg1": "titan-text",
    "titan-embed-image": "titan-embed-image",
    "titan-embed": "titan-embed",
    "titan-image": "titan-image",
    "mistral-7b": "mistral",
    "mixtral-8x7b": "mistral",
    "mistral": "mistral-chat",
    "llama2": "llama2",
    "llama3": "llama3",
    "stable-diffusion-xl": "sdxl",
    "stable-image": "stable-image",
    "sd3": "stable-image",
}
"""By how a model's id goes on after its vendor; the first that fits counts."""


def family_of(model: str) -> str:
    """The name of a model's family, from its id or an ARN that holds one; empty: it does not tell."""
    name = GEO.sub("", model.rpartition("/")[2].lower(), count=1)
    bare = re.sub(r"^(anthropic|ai21|cohere|amazon|mistral|meta|stability)\.", "", name)
    return next((family for start, family in BEGINNINGS.items() if bare.startswith(start)), "")
