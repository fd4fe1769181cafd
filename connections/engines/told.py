"""What an engine is told when it starts, and how it tells how far it is."""

import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MARK = "\x1e"
"""Begins a line of output that is a report and no log."""
HOPELESS = 78
"""The exit status of an engine that starting again would not help."""


class Missing(Exception):
    """The model cannot be loaded; the message says why and what to do."""


class Refused(Exception):
    """The request cannot be answered as it stands; the message says why."""

    def __init__(self, message: str, code: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Given:
    """The first line of an engine's standard input, as JSON."""

    engine: str
    host: str
    port: int
    key: str = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folders: Sequence[str] = ()
    """Where local weights may lie."""
    classes: Sequence[str] = ()
    """The classes that may be run, as `module:Class`."""

    @classmethod
    def read(cls) -> "Given":
        return cls(**json.loads(sys.stdin.readline()))

    def as_line(self) -> bytes:
        return json.dumps(vars(self)).encode() + b"\n"


Report = Callable[[int], None]
"""Takes how much is loaded, in percent."""
_turn = threading.Lock()


def report(state: str, **more: Any) -> None:
    """One line for whoever started us."""
    with _turn:
        print(f"\n{MARK}{json.dumps({'state': state, **more})}", flush=True)


def heard(line: str) -> dict[str, Any] | None:
    """The report that a line of output is; None: an ordinary line."""
    if not line.startswith(MARK):
        return None
    try:
        told = json.loads(line.removeprefix(MARK))
    except ValueError:
        return None
    return told if isinstance(told, dict) else None
