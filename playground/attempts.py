"""One call for pictures, vectors or a ranking: asked on the same path as all others, shown at once, not kept."""

import base64
import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import Any

from django.conf import settings
from django.utils.safestring import SafeString

from access.principal import Principal
from connections.providers.calls import JSON, Mode
from gateway.accepted import Prompt
from gateway.envelope import Problem
from gateway.http import MODES
from gateway.ledger.record import Record
from gateway.pipeline import engine
from playground.answering import sent_to, shortened
from playground.forms import picture_type
from playground.problems import NEXT_STEPS, RETRY
from playground.render import coloured
from playground.snippets import curl

PATHS = {mode: path for path, mode in MODES.items()}


@dataclass(slots=True)
class Attempt:
    """What came of it, as the page shows it."""

    mode: Mode
    request: JSON
    answer: JSON = field(default_factory=dict)
    record: Record | None = None
    attempts: int = 0
    """Upstream calls that it took."""
    effective: JSON = field(default_factory=dict)
    """Method, path and body as sent to the provider, without credentials."""
    adjusted: Sequence[str] = ()
    problem: Problem | None = None
    request_id: str = ""

    @property
    def code(self) -> SafeString:
        """The same call from a shell."""
        return coloured(curl(self.request, settings.BASE_URL, PATHS[self.mode]), "bash")

    @property
    def was_routed(self) -> bool:
        """Whether it says something who answered."""
        return self.record is not None and (self.record.model != self.request["model"] or self.attempts > 1)

    @property
    def next_step(self) -> str:
        return NEXT_STEPS.get(self.problem.code, RETRY) if self.problem else ""

    @property
    def pictures(self) -> list["Picture"]:
        return [_picture(item) for item in self.answer.get("data", [])]

    @property
    def vectors(self) -> "Vectors":
        rows = sorted(self.answer.get("data", []), key=lambda item: int(item.get("index", 0)))
        return Vectors(_texts(self.request["input"]), [item["embedding"] for item in rows])

    @property
    def ranking(self) -> list[tuple[str, float]]:
        documents = self.request["documents"]
        return [(documents[item["index"]], item["relevance_score"]) for item in self.answer.get("results", [])]


async def attempt(principal: Principal, mode: Mode, body: JSON) -> Attempt:
    """Ask, and tell what was sent and what came; a failure is an outcome too."""
    prompt = Prompt(principal, mode, json.dumps(body).encode(), "playground")
    made = Attempt(mode, body, request_id=prompt.request_id)
    running = await engine()
    try:
        effective = await running.effective(prompt)
        made.adjusted = effective.pop("adjusted")
        made.effective = shortened(effective)
        answered = await running.ask(prompt)
    except Problem as problem:
        made.problem = problem
        return made
    if answered.record.model != body["model"]:
        with contextlib.suppress(Problem):
            made.effective = shortened(sent_to(running, prompt, answered.record.model))
    made.answer, made.record = json.loads(answered.body), answered.record
    made.attempts = int(answered.headers["x-mesh-attempts"])
    made.adjusted = [change for change in answered.adjusted if not change.startswith("response_format dropped")]
    return made


# --- pictures ------------------------------------------------------------------------------------------------

ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}


@dataclass(frozen=True, slots=True)
class Picture:
    source: str
    """A data URL; empty: it lies elsewhere, or is of no kind that is shown."""
    ending: str = ""
    address: str = ""
    revised_prompt: str = ""


def _picture(item: JSON) -> Picture:
    """Only what begins as a picture does becomes a part of the page."""
    revised = str(item.get("revised_prompt") or "")
    data = item.get("b64_json")
    if not isinstance(data, str):
        address = str(item.get("url") or "")
        return Picture("", address=address if address.startswith("https://") else "", revised_prompt=revised)
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError:
        return Picture("", revised_prompt=revised)
    kind = picture_type(content)
    source = f"data:{kind};base64,{data}" if kind else ""
    return Picture(source, ENDINGS.get(kind, ""), revised_prompt=revised)


# --- vectors -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Vectors:
    texts: Sequence[str]
    vectors: Sequence[Sequence[float]]

    @property
    def dimensions(self) -> int:
        return len(self.vectors[0]) if self.vectors else 0

    @property
    def rows(self) -> list[tuple[str, list[float]]]:
        """For each text, how near it is to each: 1 is the same direction, 0 has nothing in common."""
        found = [[_cosine(one, other) for other in self.vectors] for one in self.vectors]
        return list(zip(self.texts, found, strict=False))

    @property
    def as_json(self) -> str:
        return json.dumps(
            [{"text": text, "embedding": vector} for text, vector in zip(self.texts, self.vectors, strict=False)]
        )


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    length = math.hypot(*one) * math.hypot(*other)
    return sum(map(mul, one, other)) / length if length else 0.0


def _texts(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given)
