"""Any chat model, LLM or embedding class of LangChain, out of an installed package."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from connections.engines import classes
from connections.engines.shapes import JSON, Asked, Backend, Piece, stops
from connections.engines.told import Given, Missing, Refused, Report

NOT_PASSED = frozenset(
    {"model", "messages", "prompt", "input", "stream", "stream_options", "stop", "tools", "n", "user"}
)
FINISHES = {"stop": "stop", "end_turn": "stop", "length": "length", "max_tokens": "length", "tool_calls": "tool_calls"}


def backend(given: Given) -> Backend:
    return LangChainBackend(given)


class LangChainBackend(Backend):
    def __init__(self, given: Given) -> None:
        self.given = given
        self.at_once = int(given.settings["at_once"])

    def load(self, report: Report) -> None:
        try:
            from langchain_core.embeddings import Embeddings  # noqa: PLC0415 - not always installed
            from langchain_core.language_models import BaseChatModel, BaseLLM  # noqa: PLC0415 - likewise
        except ImportError as error:
            raise Missing(f"{error.name} is not installed where engines run. Install it: make engines") from error
        report(20)
        kind = classes.load(self.given)
        if not issubclass(kind, BaseChatModel | BaseLLM | Embeddings):
            raise Missing(f"{kind.__name__} is neither a chat model nor an LLM nor an embedding class of LangChain.")
        self.is_chat, self.embeds = issubclass(kind, BaseChatModel), issubclass(kind, Embeddings)
        report(50)
        try:
            self.model: Any = kind(**{name: _literal(text) for name, text in classes.arguments(self.given).items()})
        except (TypeError, ValueError) as error:  # pydantic's is a ValueError, and tells the values
            raise Missing(f"{kind.__name__} cannot be made: {_described(error)}"[:280]) from None
        report(95)

    def models(self) -> list[JSON]:
        return [{"id": self.given.settings["model_id"]}]

    def embed(self, asked: Asked) -> list[list[float]]:
        if not self.embeds:
            raise Refused("This class does not embed.")
        return self.model.embed_documents(asked.inputs)  # type: ignore[no-any-return]

    def generate(self, asked: Asked) -> Iterator[Piece]:
        if self.embeds:
            raise Refused("This class only embeds.")
        options = {name: value for name, value in asked.body.items() if name not in NOT_PASSED and value is not None}
        if texts := stops(asked.body):
            options["stop"] = texts
        if self.is_chat:
            yield from self._chat(asked, options)
        else:
            yield from self._text(asked, options)

    def _chat(self, asked: Asked, options: JSON) -> Iterator[Piece]:
        from langchain_core.messages.utils import convert_to_messages  # noqa: PLC0415 - not always installed

        messages = asked.messages if asked.kind == "chat" else [{"role": "user", "content": asked.prompt}]
        model = self.model.bind_tools(asked.body["tools"]) if asked.body.get("tools") else self.model
        whole: Any = None
        for chunk in model.stream(convert_to_messages(messages), **options):
            whole = chunk if whole is None else whole + chunk
            if text := _text_of(chunk.content):
                yield Piece(text)
        if whole is None:
            raise ValueError("the class gave no answer")
        _count(whole, asked)
        calls = [_call(call) for call in getattr(whole, "tool_calls", [])]
        told = str((whole.response_metadata or {}).get("finish_reason") or "")
        yield Piece(finish="tool_calls" if calls else FINISHES.get(told, "stop"), tool_calls=calls)

    def _text(self, asked: Asked, options: JSON) -> Iterator[Piece]:
        prompt = asked.prompt if asked.kind == "completion" or "prompt" in asked.body else _written(asked.messages)
        for text in self.model.stream(prompt, **options):
            yield Piece(text)
        yield Piece(finish="stop")


def _literal(text: Any) -> Any:
    """Lists and objects are typed as JSON; everything else the class's own annotations coerce."""
    if isinstance(text, str) and text.lstrip()[:1] in {"[", "{"}:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _described(error: Exception) -> str:
    """What is wrong, without the values: they may be secrets."""
    problems = getattr(error, "errors", None)
    if not callable(problems):
        return type(error).__name__
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems(include_input=False))


def _text_of(content: Any) -> str:
    parts = content if isinstance(content, list) else [content]
    return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in parts)


def _written(messages: list[JSON]) -> str:
    """For classes that only continue text, in the way that LangChain writes conversations."""
    from langchain_core.messages.utils import convert_to_messages, get_buffer_string  # noqa: PLC0415 - likewise

    return f"{get_buffer_string(convert_to_messages(messages))}\nAI:"


def _call(call: Mapping[str, Any]) -> JSON:
    function = {"name": call["name"], "arguments": json.dumps(call["args"])}
    return {"id": call.get("id") or "call_0", "type": "function", "function": function}


def _count(whole: Any, asked: Asked) -> None:
    usage = getattr(whole, "usage_metadata", None) or {}
    asked.prompt_tokens, asked.completion_tokens = usage.get("input_tokens"), usage.get("output_tokens")
