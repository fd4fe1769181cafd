"""Chat templates: programs out of the files of strangers, so they run in a sandbox."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from connections.engines.told import Missing, Refused

Messages = Sequence[Mapping[str, Any]]


class ChatTemplate:
    """One template, compiled once. `render` gives the text up to where the model's turn begins."""

    def __init__(self, source: str, **tokens: str) -> None:
        from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - comes with the engines' packages
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - likewise

        sandbox = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        sandbox.globals |= {"raise_exception": _raise, "strftime_now": _now}
        try:
            self.template = sandbox.from_string(source)
        except TemplateSyntaxError as error:
            raise Missing(f"The chat template has a fault in line {error.lineno}: {error.message}.") from None
        self.tokens = tokens

    def render(self, messages: Messages, **more: Any) -> str:
        """Templates may refuse a system role; what it says then begins the first user's message."""
        try:
            return self._rendered(messages, more)
        except Refused:
            if not any(message.get("role") in {"system", "developer"} for message in messages):
                raise
        return self._rendered(folded(messages), more)

    def _rendered(self, messages: Messages, more: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError  # noqa: PLC0415 - comes with the engines' packages

        around = {"messages": list(map(plain, messages)), "add_generation_prompt": True, **self.tokens, **more}
        try:
            return str(self.template.render(around))
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, OverflowError) as error:
            raise Refused(f"The model's chat template refuses these messages: {error}"[:300]) from None


def plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """Its parts of text as one text; what is no text is refused."""
    content = message.get("content")
    role = "system" if message.get("role") == "developer" else message.get("role")
    if isinstance(content, list):
        if any(not isinstance(part, Mapping) or part.get("type") != "text" for part in content):
            raise Refused("This model takes plain text only: no images.")
        content = "\n".join(str(part.get("text", "")) for part in content)
    return {**message, "role": role, "content": content or ""}


def folded(messages: Messages) -> list[dict[str, Any]]:
    """Without the system role: what it says comes before the first user's text."""
    told = [plain(message) for message in messages]
    rules = "\n".join(one["content"] for one in told if one["role"] == "system")
    others = [one for one in told if one["role"] != "system"]
    if not others or others[0]["role"] != "user":
        return [{"role": "user", "content": rules}, *others]
    return [{**others[0], "content": f"{rules}\n\n{others[0]['content']}"}, *others[1:]]


def _raise(message: str) -> NoReturn:
    from jinja2 import TemplateError  # noqa: PLC0415 - comes with the engines' packages

    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now(UTC).strftime(pattern)
