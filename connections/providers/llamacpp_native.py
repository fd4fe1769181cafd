"""llama.cpp's own `/completion`: more ways to sample than its OpenAI route, and the prompt exactly as it is sent."""

from collections.abc import Mapping, Sequence
from typing import Any

from connections.providers import problems, shapes, wire
from connections.providers.calls import JSON, Call, Frame, Mode, Reply, Usage
from connections.providers.errors import RequestRefused
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.shapes import ShapedReader, string

OWN = (
    "cache_prompt",
    "dynatemp_range",
    "grammar",
    "json_schema",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "repeat_last_n",
    "typical_p",
)
TABLE = ParameterTable.of(
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias"),
    *OWN,
    max_tokens=Rule("n_predict"),
    repetition_penalty=Rule("repeat_penalty"),
    logprobs=Rule("n_probs"),
)
LONGEST = 4096
"""Tokens where the caller names no limit: the server would write on for ever."""


def body_of(call: Call) -> JSON:
    given = {name: wire.plain(value) for name, value in TABLE.apply(call).items()}
    prompt = given.pop("prompt")
    if isinstance(prompt, list) and len(prompt) != 1:
        raise RequestRefused("This model takes one prompt at a time.", status=400)
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    text = prompt[0] if isinstance(prompt, list) else prompt
    return {"prompt": text, "n_predict": call.target.max_output or LONGEST, "stream": call.stream, **given}


def completion(body: bytes, secrets: Sequence[str]) -> Reply:
    said = shapes.decoded(body, secrets)
    if not isinstance(said.get("content"), str):
        raise problems.unreadable(body, secrets)
    return shapes.completion_reply([(said["content"], _reason(said))], _usage(said), model=string(said, "model"))


def _reason(said: Mapping[str, Any]) -> str:
    return "length" if said.get("stop_type") == "limit" or said.get("truncated") is True else "stop"


def _usage(said: Mapping[str, Any]) -> Usage:
    return wire.usage(said.get("tokens_evaluated"), said.get("tokens_predicted"))


class CompletionReader(ShapedReader):
    """Pieces until the one that says `stop`, with all counts; there is no `[DONE]`."""

    mode = Mode.COMPLETION

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done:
            return ()
        said = shapes.decoded(frame.data, self._secrets)
        if not isinstance(said.get("content"), str):
            raise problems.unreadable(frame.data, self._secrets)
        chunks = self._text(said["content"])
        if said.get("stop") is True:
            self._done, self.usage, self.model = True, _usage(said), string(said, "model")
            chunks += self._finish(_reason(said))
        return chunks
