"""Every provider in the registry, set up with the settings of its golden folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from connections.providers import registry
from connections.providers.calls import Call, Mode, Target
from connections.providers.contract import Provider

GOLDEN = Path(__file__).parent / "golden"


def golden(kind: str, name: str) -> Any:
    return json.loads((GOLDEN / kind / name).read_text())


def make(kind: str, **settings: Any) -> Provider:
    provider = registry.providers()[kind]
    return provider(provider.Settings.model_validate({**golden(kind, "settings.json"), **settings}))


def a_call(provider: Provider, mode: Mode = Mode.CHAT, **body: Any) -> Call:
    """A small call; `body` adds to it."""
    content = {
        Mode.CHAT: {"messages": [{"role": "user", "content": "Hello"}]},
        Mode.COMPLETION: {"prompt": "Hello"},
        Mode.EMBEDDING: {"input": ["Hello"]},
    }
    name = next((model.id for model in provider.catalogue if model.mode is mode and not model.lifecycle), "a-model")
    return Call(mode, Target(name, mode), {**content[mode], **body})


@pytest.fixture(params=list(registry.providers()))
def provider(request: pytest.FixtureRequest) -> Provider:
    """Each provider in turn; a new one comes in by itself, with a folder of golden files."""
    return make(request.param)
