"""What somebody has typed into the wizard so far: in their session, the secrets sealed.

One draft per provider kind, so each step's address says which draft it is about.
"""

import base64
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from connections import secrets
from connections.account import Account, settle
from connections.providers.calls import Mode, ModelInfo
from connections.providers.contract import Provider
from connections.services import ModelChoice

SESSION_KEY = "connection_drafts"


@dataclass(slots=True)
class Draft:
    kind: type[Provider]
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict, repr=False)
    models: list[ModelChoice] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    offered: list[ModelInfo] = field(default_factory=list)
    """What the provider listed for these settings."""

    def settle(self, settings: Mapping[str, Any], typed: Mapping[str, Any]) -> Account:
        """The draft's secrets follow a changed address: whoever typed them is changing it."""
        return settle(self.kind, settings, typed, stored=self.secrets)

    @property
    def account(self) -> Account:
        """Raises SettingsRefused as long as the input does not amount to one."""
        return self.settle(self.settings, {})

    def type(self, settings: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
        """Keep input, valid or not; a blank secret keeps the one typed before."""
        self.settings, self.offered = dict(settings), []
        self.secrets |= {name: value for name, value in typed.items() if value}
        self.secrets = {name: value for name, value in self.secrets.items() if typed.get(name, "") is not None}


def load(session: SessionBase, kind: type[Provider]) -> Draft:
    kept = session.get(SESSION_KEY, {}).get(kind.kind)
    if kept is None:
        return Draft(kind)
    models = [ModelChoice(**choice) for choice in kept["models"]]
    offered = [_model_info(facts) for facts in kept["offered"]]
    return Draft(kind, kept["options"], kept["settings"], _unsealed(kept), models, kept["groups"], offered)


def _model_info(facts: dict[str, Any]) -> ModelInfo:
    return ModelInfo(**{**facts, "mode": Mode(facts["mode"]), "capabilities": frozenset(facts["capabilities"])})


def _unsealed(kept: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(secrets.unseal(base64.b64decode(kept["sealed"]), _binding(kept["id"])))
    except secrets.Unreadable:
        return {}


def save(session: SessionBase, draft: Draft) -> None:
    identity = str(uuid.uuid4())
    kept = {
        "id": identity,
        "options": draft.options,
        "settings": draft.settings,
        "sealed": base64.b64encode(secrets.seal(draft.secrets, _binding(identity))).decode(),
        "models": [asdict(choice) for choice in draft.models],
        "groups": draft.groups,
        "offered": [{**asdict(info), "capabilities": sorted(info.capabilities)} for info in draft.offered],
    }
    session[SESSION_KEY] = session.get(SESSION_KEY, {}) | {draft.kind.kind: kept}


def drop(session: SessionBase, kind: type[Provider]) -> None:
    drafts = session.get(SESSION_KEY, {})
    session[SESSION_KEY] = {name: kept for name, kept in drafts.items() if name != kind.kind}


def _binding(identity: str) -> bytes:
    return secrets.binding("session", identity, "connection_draft", 1)
