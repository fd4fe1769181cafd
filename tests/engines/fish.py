"""Python classes as third parties write them."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from connections.engines.model import Conversation, EngineModel


class Fish(EngineModel):
    """Says what it was given."""

    def __init__(self, name: str = "fish", size: int = 1, secret: str = "") -> None:
        self.name, self.size, self.secret = name, size, secret
        self.loaded = False

    @property
    def model_name(self) -> str:
        return self.name

    def load(self) -> None:
        self.loaded = True

    def generate(
        self,
        inputs: Sequence[Conversation],
        num_generations: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        mood: Literal["calm", "wild"] = "calm",
        tags: list[str] | None = None,
    ) -> list[Any]:
        if temperature > 100:
            raise ValueError(f"too hot for {self.secret}")
        told = (
            f"{self.loaded} {self.size!r} {max_new_tokens!r} {temperature!r} {mood} {tags} {inputs[0][-1]['content']}"
        )
        texts = [told, *(f"another {index}" for index in range(1, num_generations))]
        return [
            {"generations": texts, "statistics": {"input_tokens": [7] * len(texts), "output_tokens": [3] * len(texts)}}
        ]

    def get_last_hidden_states(self, inputs: Sequence[Conversation]) -> list[list[list[float]]]:
        return [[[1.0, 3.0], [3.0, 5.0]] for _ in inputs]


class Later:
    """Asynchronous, of the older shape, and without our base class."""

    model_name = "later"

    async def agenerate(self, input: Conversation, num_generations: int = 1, **kwargs: Any) -> list[str | None]:
        return [f"{input[-1]['content']} {sorted(kwargs.items())}", None]


class Slow(Fish):
    """Answers once the file whose path is its name is there; beside it, a file for each call."""

    calls = 0

    def generate(self, inputs: Sequence[Conversation], num_generations: int = 1) -> list[Any]:  # type: ignore[override]
        self.calls += 1
        Path(f"{self.name}-{self.calls}").touch()
        while not Path(self.name).exists():
            time.sleep(0.02)
        return [["awake"]]


class Broken:
    def load(self) -> None:
        raise RuntimeError("no such fish")

    def generate(self, inputs: Any) -> None: ...


class Dies(Fish):
    def load(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


NOT_A_CLASS = 5
