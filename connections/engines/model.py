"""The base of models written in Python: one class, run in an engine of its own.

Whoever writes one installs its package where engines run and lists the class in `MESH_CUSTOM_CLASSES`. Inheriting
from here is not needed: any class with these methods will do, those of distilabel among them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

Conversation = Sequence[dict[str, Any]]
"""Messages as OpenAI writes them: each has a `role` and a `content`."""


class EngineModel(ABC):
    """What an engine calls. The typed arguments of `__init__` and of `generate` become forms."""

    @property
    @abstractmethod
    def model_name(self) -> str:
        """How the model is called."""

    def load(self) -> None:  # noqa: B027 - a class may need none
        """Get ready: called once, before anything else."""

    @abstractmethod
    def generate(self, inputs: Sequence[Conversation], num_generations: int = 1, **parameters: Any) -> list[Any]:
        """For each conversation `num_generations` answers.

        Either a list of texts for each, or `{"generations": […], "statistics": {"input_tokens": […],
        "output_tokens": […]}}`. None among the answers: this one failed. Name the parameters that you take, with
        their types; a class may offer `async def agenerate(self, input, num_generations=1, …)` for one conversation
        instead, and `get_last_hidden_states(inputs)` to embed.
        """
