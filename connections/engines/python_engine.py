"""A class written in Python: `load`, then `generate` or `agenerate`, as distilabel's classes have them."""

import asyncio
import inspect
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

from connections.engines import classes
from connections.engines.parameters import Signature
from connections.engines.shapes import JSON, Asked, Backend, Piece, number
from connections.engines.told import Given, Missing, Refused, Report

OURS = frozenset({"inputs", "input", "num_generations"})
NOT_FOR_IT = frozenset({"model", "messages", "prompt", "n", "stream", "stream_options", "runtime_parameters", "user"})
RENAMED = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens"}
"""What such classes call OpenAI's parameters, where their signature says so."""


def backend(given: Given) -> Backend:
    return PythonBackend(given)


class PythonBackend(Backend):
    def __init__(self, given: Given) -> None:
        self.given = given
        self.at_once = int(given.settings.get("at_once", 1))

    def load(self, report: Report) -> None:
        kind = classes.load(self.given)
        report(10)
        self.model = classes.made(kind, self.given)
        self.one_by_one = not callable(getattr(self.model, "generate", None))
        function = getattr(self.model, "agenerate" if self.one_by_one else "generate", None)
        if not callable(function):
            raise Missing(f"{kind.__name__} has neither `generate` nor `agenerate`.")
        self.function = function
        self.signature = Signature.of(function, OURS)
        self.counts = "num_generations" in inspect.signature(function).parameters or self.signature.takes_more
        report(30)
        if callable(getattr(self.model, "load", None)):
            self.model.load()
        report(90)

    def models(self) -> list[JSON]:
        parameters = [one.as_json() for one in self.signature.parameters.values()]
        told = str(getattr(self.model, "model_name", ""))
        return [{"id": self.given.settings["model_id"], "name": told, "parameters": parameters}]

    def generate(self, asked: Asked) -> Iterator[Piece]:
        """A class that knows no `num_generations` is asked as often as answers are wanted."""
        conversation = asked.messages if asked.kind == "chat" else [{"role": "user", "content": asked.prompt}]
        wanted, parameters = number(asked.body, "n", int) or 1, self._parameters(asked.body)
        if self.counts:
            outputs = [self._output(conversation, {**parameters, "num_generations": wanted})]
        else:
            outputs = [self._output(conversation, parameters) for _ in range(wanted)]
        yield from _pieces(outputs, asked)

    def _output(self, conversation: list[JSON], parameters: Mapping[str, Any]) -> Any:
        if self.one_by_one:
            return _awaited(self.function(input=conversation, **parameters))
        outputs = _awaited(self.function(inputs=[conversation], **parameters))
        return outputs[0] if outputs else []

    def _parameters(self, body: JSON) -> dict[str, Any]:
        """Of the connection, and over them those of the request."""
        sent = {name: value for name, value in body.items() if name not in NOT_FOR_IT and value is not None}
        known = self.signature.parameters
        own = {RENAMED.get(name, name) if name not in known else name: value for name, value in sent.items()}
        set_before = body.get("runtime_parameters") or {}
        if not isinstance(set_before, Mapping):
            raise Refused("`runtime_parameters` must be an object.")
        return self.signature.values({**set_before, **own}, "The class")

    def embed(self, asked: Asked) -> list[list[float]]:
        names = ("get_last_hidden_states", "get_last_hidden_state")
        function = next((found for name in names if callable(found := getattr(self.model, name, None))), None)
        if function is None:
            raise Refused("This class has no `get_last_hidden_states`, so it does not embed.")
        states = _awaited(function([[{"role": "user", "content": text}] for text in asked.inputs]))
        return [_mean(state) for state in states]


def _awaited(result: Any) -> Any:
    return asyncio.run(_as_coroutine(result)) if asyncio.iscoroutine(result) else result


async def _as_coroutine(result: Coroutine[Any, Any, Any]) -> Any:
    return await result


def _pieces(outputs: Sequence[Any], asked: Asked) -> Iterator[Piece]:
    """Failed answers (None) are left out, unless all are."""
    told = [_read(output) for output in outputs]
    texts = [text for generations, _ in told for text in generations if text is not None]
    if not texts:
        raise ValueError("no answer came of it")
    _count([statistics for _, statistics in told], asked)
    for index, text in enumerate(texts):
        yield Piece(text, "stop", index)


def _read(output: Any) -> tuple[Sequence[str | None], Mapping[str, Any]]:
    """A list of texts, or distilabel's dict with statistics."""
    told = output if isinstance(output, Mapping) else {"generations": output}
    texts = told.get("generations")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, Sequence) or not all(text is None or isinstance(text, str) for text in texts):
        raise ValueError("`generate` must return texts for each input")
    return texts, told.get("statistics") or {}


def _count(told: Sequence[Mapping[str, Any]], asked: Asked) -> None:
    """The prompt is the same for all answers of one call, so its tokens are listed again with each of them."""
    read = [max(one) for statistics in told if (one := statistics.get("input_tokens"))]
    written = [sum(one) for statistics in told if (one := statistics.get("output_tokens"))]
    asked.prompt_tokens = sum(read) if read else None
    asked.completion_tokens = sum(written) if written else None


def _mean(state: Any) -> list[float]:
    """The mean over the tokens of a matrix with one row each."""
    rows = [[float(value) for value in row] for row in state]
    if not rows:
        raise ValueError("a last hidden state has no rows")
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]
