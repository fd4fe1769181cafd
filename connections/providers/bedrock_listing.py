"""What Bedrock's control plane lists: models, and the profiles through which some of them are called."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from connections.providers import problems
from connections.providers.calls import Mode, ModelInfo
from connections.providers.model_families import FAMILIES, GEO, family_of
from connections.providers.shapes import decoded, mapping, mappings, string

LIFECYCLES: Mapping[str, str] = {"LEGACY": "deprecated"}


def foundation_models(body: bytes, secrets: Sequence[str], *, profiled: bool) -> list[ModelInfo]:
    """Those that can be called by their own id; with a profile at the connection, those that need one too."""
    content = decoded(body, secrets)
    if not isinstance(content.get("modelSummaries"), list):
        raise problems.unreadable(body, secrets)
    wanted = {"ON_DEMAND", "INFERENCE_PROFILE"} if profiled else {"ON_DEMAND"}
    listed = mappings(content["modelSummaries"])
    return [info for one in listed if wanted & _texts(one, "inferenceTypesSupported") and (info := _model(one))]


def _model(one: Mapping[str, Any]) -> ModelInfo | None:
    name, outcome = string(one, "modelId"), _texts(one, "outputModalities")
    mode = _mode(name, outcome)
    if not name or mode is None:
        return None
    seen = {"vision"} if mode is Mode.CHAT and "IMAGE" in _texts(one, "inputModalities") else set()
    lifecycle = LIFECYCLES.get(string(mapping(one.get("modelLifecycle")), "status"), "")
    label = string(one, "modelName")
    return ModelInfo(name, mode, label, family_of(name), capabilities=frozenset(seen), lifecycle=lifecycle)


def _mode(name: str, outcome: set[str]) -> Mode | None:
    """None: nothing that we can ask for."""
    if "EMBEDDING" in outcome:
        return Mode.EMBEDDING
    if "IMAGE" in outcome:
        return Mode.IMAGE if family_of(name) in FAMILIES else None
    return Mode.CHAT if "TEXT" in outcome and "rerank" not in name else None


def inference_profiles(
    body: bytes, secrets: Sequence[str], known: Mapping[str, ModelInfo]
) -> tuple[list[ModelInfo], str]:
    """The profiles of one page and the token of the next; `known`: the models behind them, by id."""
    content = decoded(body, secrets)
    listed = [one for one in mappings(content.get("inferenceProfileSummaries")) if string(one, "status") == "ACTIVE"]
    return [info for one in listed if (info := _profile(one, known))], string(content, "nextToken")


def _profile(one: Mapping[str, Any], known: Mapping[str, ModelInfo]) -> ModelInfo | None:
    own = string(one, "type") == "APPLICATION"
    name = string(one, "inferenceProfileArn" if own else "inferenceProfileId")
    behind = next((string(model, "modelArn").rpartition("/")[2] for model in mappings(one.get("models"))), "")
    base = behind or GEO.sub("", name, count=1)
    if not name:
        return None
    info = known.get(base, ModelInfo(base, family=family_of(base)))
    label = string(one, "inferenceProfileName") or info.label
    return replace(info, id=name, label=label, underlying=behind if own else "")


def _texts(values: Mapping[str, Any], name: str) -> set[str]:
    found = values.get(name)
    return {item for item in found if isinstance(item, str)} if isinstance(found, list) else set()
