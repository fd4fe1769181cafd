"""Every provider in the registry, set up with the settings of its golden folder.

A folder in `golden/` is named after a provider's kind or after the module of a dialect. What a provider's own folder
lacks is taken from those of the classes it inherits from: a copy of a dialect needs little more than its
`settings.json` and one request. How the files are read, and what they must show, is the conformance kit's matter.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connections.providers import registry
from connections.providers.calls import Call, Mode, Reply, Target
from connections.providers.conformance.golden import CONTENT, ENDINGS, PLACE, Golden, read_stream, target_from
from connections.providers.contract import Provider

__all__ = ["CONTENT", "ENDINGS", "PLACE", "read_stream", "target_from"]

GOLDEN = Path(__file__).parent / "golden"


def folders(kind: str) -> list[Path]:
    """Where a provider's golden files may lie, its own folder first."""
    classes = registry.providers()[kind].__mro__
    names = [kind] + [vars(one).get("kind") or one.__module__.rpartition(".")[2] for one in classes]
    return [GOLDEN / name for name in dict.fromkeys(names) if (GOLDEN / name).is_dir()]


def golden_of(kind: str) -> Golden:
    """A provider's class and its files, as the conformance kit takes them."""
    without = Golden(registry.providers()[kind], folders(kind))
    given = without.read("settings.json")
    lenders = without.kind.Settings.lender_kinds().items()
    return Golden(without.kind, without.folders, {name: make(lender) for name, lender in lenders if given.get(name)})


def files(kind: str, pattern: str) -> list[Path]:
    """The files of this name's pattern, from the nearest folder that has any."""
    return Golden(registry.providers()[kind], folders(kind)).files(pattern)


def golden(kind: str, name: str) -> Any:
    return Golden(registry.providers()[kind], folders(kind)).read(name)


def make(kind: str, **settings: Any) -> Provider:
    return golden_of(kind).make(**settings)


def target_of(provider: Provider, mode: Mode) -> Target:
    """A model of this mode: the one that the golden request is for, or the catalogue's first."""
    return golden_of(provider.kind).target(mode)


def a_call(provider: Provider, mode: Mode | None = None, **body: Any) -> Call:
    """A small call; `body` adds to it. Without a mode: a chat, or the first thing the provider can do."""
    return golden_of(provider.kind).call(mode, **body)


def first_mode(provider: Provider) -> Mode:
    return golden_of(provider.kind).modes[0]


def streams(kind: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The recorded streams and what each of them says."""
    return golden_of(kind).streams()


def read_reply(provider: Provider, mode: Mode, recorded: dict[str, Any]) -> Reply:
    """The reply that a recorded answer amounts to."""
    return golden_of(provider.kind).read_reply(provider, mode, recorded)


@pytest.fixture(params=list(registry.providers()))
def golden_provider(request: pytest.FixtureRequest) -> Golden:
    """Each provider in turn, with its files; a new one comes in by itself, with a folder of golden files."""
    return golden_of(request.param)


@pytest.fixture
def provider(golden_provider: Golden) -> Provider:
    """Each provider in turn."""
    return golden_provider.make()
