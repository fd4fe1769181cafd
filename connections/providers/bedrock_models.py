"""Bedrock's models: how their ids are written, what sets families apart on its chat API, and the catalogue."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from connections.providers.aws import REGION
from connections.providers.calls import Mode, ModelInfo, Target
from connections.providers.model_families import FAMILIES, GEO, family_of

ARN = re.compile(r"arn:aws[a-z-]*:(bedrock|sagemaker):(?P<region>[a-z0-9-]*):")
OPAQUE = (
    "application-inference-profile/",
    "provisioned-model/",
    "custom-model",
    "default-prompt-router/",
    "imported-model/",
    "prompt",
    "endpoint/",
)
"""What an ARN is of when it does not tell which model is behind it."""
Reasoning = Literal["", "claude", "nova", "effort"]


def sent_as(target: Target, profile: str) -> str:
    """The id that calls are made with. The connection's profile goes in front of plain ids only: no ARN and no id
    that names a profile already takes one."""
    name = target.upstream_id
    routed = name.startswith("arn:") or GEO.match(name) or name.startswith(f"{profile}.")
    return name if routed or not profile or target.options.get("without_profile") else f"{profile}.{name}"


def region_of(name: str, default: str) -> str:
    """Where the call must go: an ARN tells its own region."""
    found = ARN.match(name)
    return found["region"] if found and REGION.fullmatch(found["region"]) else default


def known_name(target: Target) -> str:
    """The model as its vendor names it, with a profile's prefix if there is one; empty: an ARN that does not tell."""
    if target.underlying:
        return target.underlying
    name = target.upstream_id
    if not name.startswith("arn:"):
        return name
    path = name.split(":", 5)[-1]
    return "" if path.startswith(OPAQUE) else path.rpartition("/")[2]


def base_name(name: str) -> str:
    """The model behind an id, without a profile's prefix."""
    return GEO.sub("", known_name(Target(name)), count=1)


def family_for(target: Target) -> str:
    """The family that an admin chose, or that the model's name tells; empty: not known."""
    chosen = str(target.options.get("family") or "")
    return chosen if chosen in FAMILIES else family_of(known_name(target))


# --- the chat API ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Traits:
    """What a family takes on Bedrock's chat API, which is one for all."""

    system: bool = True
    tools: bool = True
    streams: bool = True
    top_k: str = ""
    """Where it stands among the fields that only some models have; `nova`: within an object of its own."""
    reasoning: Reasoning = ""
    """How it is told to reason."""


PLAIN = Traits(tools=False)
WITHOUT_SYSTEM = Traits(system=False, tools=False)
TRAITS: Mapping[str, Traits] = {
    "ai21.j2": Traits(system=False, tools=False, streams=False),
    "amazon.nova-2": Traits(top_k="nova", reasoning="nova"),
    "amazon.nova": Traits(top_k="nova"),
    "amazon.titan": WITHOUT_SYSTEM,
    "anthropic.claude-instant": Traits(tools=False, top_k="top_k"),
    "anthropic.claude-v2": Traits(tools=False, top_k="top_k"),
    "anthropic.claude": Traits(top_k="top_k", reasoning="claude"),
    "cohere.command-r": Traits(top_k="k"),
    "cohere.command": Traits(system=False, tools=False, top_k="k"),
    "meta.llama2": PLAIN,
    "meta.llama3-70b": PLAIN,
    "meta.llama3-8b": PLAIN,
    "mistral.mistral-7b": Traits(system=False, tools=False, top_k="top_k"),
    "mistral.mixtral-8x7b": Traits(system=False, tools=False, top_k="top_k"),
    "openai.": Traits(reasoning="effort"),
}
"""By the beginning of a model's id; the first that fits counts."""
EXAMPLES: Mapping[str, str] = {
    "claude-text": "anthropic.claude-v2",
    "claude-messages": "anthropic.claude",
    "jurassic-2": "ai21.j2",
    "cohere-command": "cohere.command-text",
    "cohere-command-r": "cohere.command-r",
    "titan-text": "amazon.titan-text",
    "mistral": "mistral.mistral-7b",
    "llama2": "meta.llama2",
    "llama3": "meta.llama3-8b",
}
"""A model of each family, for those whose name does not tell."""


def traits_of(target: Target) -> Traits:
    name = GEO.sub("", known_name(target), count=1) or EXAMPLES.get(family_for(target), "")
    return next((traits for start, traits in TRAITS.items() if name.startswith(start)), Traits())


# --- the catalogue ---------------------------------------------------------------------------------------

SEES = frozenset({"vision", "tools", "system", "reasoning", "json_schema"})
CALLS = frozenset({"tools", "system"})
TALKS = frozenset({"system"})


def _chat(name: str, label: str, can: frozenset[str] = CALLS, *, context: int | None = None) -> ModelInfo:
    return ModelInfo(name, label=label, family=family_of(name), capabilities=can, context=context)


def _old(
    name: str, label: str, mode: Mode = Mode.CHAT, *, lifecycle: str = "retired", ends: str = "", instead: str = ""
) -> ModelInfo:
    can = TALKS if mode is Mode.CHAT else frozenset[str]()
    return ModelInfo(
        name, mode, label, family_of(name), capabilities=can, lifecycle=lifecycle, ends=ends, replacement=instead
    )


def _other(name: str, label: str, mode: Mode, *, can: frozenset[str] = frozenset()) -> ModelInfo:
    return ModelInfo(name, mode, label, family_of(name), capabilities=can)


SONNET, HAIKU, OPUS = "anthropic.claude-sonnet-5-5", "anthropic.claude-haiku-5-5", "anthropic.claude-opus-5-5"
NOVA, IMAGE_CORE = "amazon.nova-2-lite-v1:0", "stability.stable-image-core-v1:1"
ANNOUNCED_END = "2027-03-30"
"""The end that AWS has announced for several models at once."""

CATALOGUE = (
    _chat(OPUS, "Claude Opus 5.5", SEES, context=200_000),
    _chat(SONNET, "Claude Sonnet 5.5", SEES, context=200_000),
    _chat(HAIKU, "Claude Haiku 5.5", SEES, context=200_000),
    _chat("anthropic.claude-sonnet-4-6", "Claude Sonnet 4.6", SEES, context=200_000),
    _chat(NOVA, "Nova 2 Lite", SEES),
    _chat("amazon.nova-pro-v1:0", "Nova Pro", CALLS | {"vision"}),
    _chat("amazon.nova-lite-v1:0", "Nova Lite", CALLS | {"vision"}),
    _chat("amazon.nova-micro-v1:0", "Nova Micro"),
    _chat("meta.llama3-3-70b-instruct-v1:0", "Llama 3.3 70B"),
    _chat("mistral.mistral-large-2407-v1:0", "Mistral Large 2407"),
    _other("cohere.embed-v4:0", "Cohere Embed 4", Mode.EMBEDDING, can=frozenset({"embedding_dimensions"})),
    _other("cohere.embed-english-v3", "Cohere Embed English 3", Mode.EMBEDDING),
    _other("cohere.embed-multilingual-v3", "Cohere Embed Multilingual 3", Mode.EMBEDDING),
    _other(
        "amazon.titan-embed-text-v2:0",
        "Titan Text Embeddings 2",
        Mode.EMBEDDING,
        can=frozenset({"embedding_dimensions"}),
    ),
    _other("amazon.titan-embed-text-v1", "Titan Text Embeddings", Mode.EMBEDDING),
    _other("amazon.titan-embed-image-v1", "Titan Multimodal Embeddings", Mode.EMBEDDING),
    _other(IMAGE_CORE, "Stable Image Core", Mode.IMAGE),
    _other("stability.stable-image-ultra-v1:1", "Stable Image Ultra", Mode.IMAGE),
    _other("stability.sd3-5-large-v1:0", "Stable Diffusion 3.5 Large", Mode.IMAGE),
    _old("anthropic.claude-sonnet-4-20250514-v1:0", "Claude Sonnet 4", ends="2026-10-14", instead=SONNET),
    _old("anthropic.claude-3-5-sonnet-20241022-v2:0", "Claude 3.5 Sonnet v2", lifecycle="deprecated", instead=SONNET),
    _old("anthropic.claude-3-5-sonnet-20240620-v1:0", "Claude 3.5 Sonnet", lifecycle="deprecated", instead=SONNET),
    _old("anthropic.claude-3-sonnet-20240229-v1:0", "Claude 3 Sonnet", lifecycle="deprecated", instead=SONNET),
    _old("anthropic.claude-3-haiku-20240307-v1:0", "Claude 3 Haiku", lifecycle="deprecated", instead=HAIKU),
    _old("anthropic.claude-3-opus-20240229-v1:0", "Claude 3 Opus", lifecycle="deprecated", instead=OPUS),
    _old("anthropic.claude-v2:1", "Claude 2.1", instead=SONNET),
    _old("anthropic.claude-v2", "Claude 2", instead=SONNET),
    _old("anthropic.claude-instant-v1", "Claude Instant", instead=HAIKU),
    _old("anthropic.claude-v1", "Claude 1", Mode.COMPLETION, instead=SONNET),
    _old("ai21.j2-ultra-v1", "Jurassic-2 Ultra", Mode.COMPLETION),
    _old("ai21.j2-mid-v1", "Jurassic-2 Mid", Mode.COMPLETION),
    _old("cohere.command-r-plus-v1:0", "Command R+", lifecycle="deprecated"),
    _old("cohere.command-r-v1:0", "Command R", lifecycle="deprecated"),
    _old("cohere.command-text-v14", "Command", Mode.COMPLETION),
    _old("cohere.command-light-text-v14", "Command Light", Mode.COMPLETION),
    _old("amazon.titan-text-premier-v1:0", "Titan Text Premier", Mode.COMPLETION, instead=NOVA),
    _old("amazon.titan-text-express-v1", "Titan Text Express", Mode.COMPLETION, instead=NOVA),
    _old("amazon.titan-text-lite-v1", "Titan Text Lite", Mode.COMPLETION, instead=NOVA),
    _old("mistral.mistral-7b-instruct-v0:2", "Mistral 7B", lifecycle="deprecated", ends=ANNOUNCED_END),
    _old("mistral.mixtral-8x7b-instruct-v0:1", "Mixtral 8x7B", lifecycle="deprecated", ends=ANNOUNCED_END),
    _old("mistral.mistral-large-2402-v1:0", "Mistral Large 2402", lifecycle="deprecated"),
    _old("meta.llama3-70b-instruct-v1:0", "Llama 3 70B", lifecycle="deprecated", ends=ANNOUNCED_END),
    _old("meta.llama3-8b-instruct-v1:0", "Llama 3 8B", lifecycle="deprecated", ends=ANNOUNCED_END),
    _old("meta.llama2-70b-chat-v1", "Llama 2 70B"),
    _old("meta.llama2-13b-chat-v1", "Llama 2 13B"),
    _old("stability.sd3-large-v1:0", "Stable Diffusion 3 Large", Mode.IMAGE, instead="stability.sd3-5-large-v1:0"),
    _old("stability.stable-diffusion-xl-v1", "Stable Diffusion XL", Mode.IMAGE, instead=IMAGE_CORE),
    _old("amazon.titan-image-generator-v2:0", "Titan Image 2", Mode.IMAGE, ends="2026-06-30"),
    _old("amazon.titan-image-generator-v1", "Titan Image", Mode.IMAGE),
)
