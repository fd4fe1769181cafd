"""What a query template says of one endpoint: the request, and where in its answers the texts and numbers stand."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from msgspec import structs
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from connections.providers import feature_extraction, problems, prompt_formats, query_template_tree, wire
from connections.providers.calls import JSON, Adjustment, Answer, Call, Frame, Mode, Reply, Usage
from connections.providers.contract import EventReader
from connections.providers.errors import BadReply, RequestRefused
from connections.providers.fields import HeaderText
from connections.providers.model_families.family import Scissors, cut, list_of, text_of
from connections.providers.parameters import ParameterTable, Rule
from connections.providers.prompt_formats import FORMATS
from connections.providers.prompt_table import Name
from connections.providers.query_template_paths import HERE, Path, PathProblem, at, text_at
from connections.providers.query_template_tree import ASKED, PARAMETERS, placeholders
from connections.providers.scrubbing import scrub
from connections.providers.shapes import ShapedReader, chat_reply, completion_reply

CONFIG = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
"""Texts keep their blanks, which may matter to an endpoint."""
UNFIT, SAID = "The answer does not fit this model's query template.", " It said: "
FINISH_REASONS: Mapping[str, frozenset[str]] = {
    "length": frozenset({"length", "max_tokens", "max_length", "max_new_tokens", "model_length", "limit"}),
    "content_filter": frozenset({"content_filter", "content_filtered", "safety", "refusal", "error_toxic"}),
}
"""Endpoints' words for the end of an answer; any other means that it was complete."""


def _tree(given: Any) -> Any:
    tree = query_template_tree.parsed(given) if isinstance(given, str) else given
    query_template_tree.check(tree)
    return tree


Tree = Annotated[Any, BeforeValidator(_tree)]


class Reading(BaseModel):
    """Paths to what an answer tells; empty: it does not tell."""

    model_config = CONFIG

    text: Path = Field("", title="Text")
    finish: Path = Field("", title="Reason for the end")
    prompt_tokens: Path = Field("", title="Tokens of the prompt")
    completion_tokens: Path = Field("", title="Tokens of the answer")

    def usage(self, content: Any) -> Usage:
        return wire.usage(found_at(content, self.prompt_tokens), found_at(content, self.completion_tokens))


class AnswerShape(Reading):
    vectors: Path = Field("", title="Vectors")


class StreamShape(Reading):
    framing: Literal["sse", "lines", "whole"] = Field("sse", title="Framing")
    """Server-sent events, one JSON text per line, or one whole answer in pieces."""
    cumulative: bool = Field(False, title="Each event repeats the text so far")
    end: str = Field("", max_length=200, title="End marker")
    """The event that says that the stream is over, such as [DONE]."""


class QueryShape(BaseModel):
    model_config = CONFIG

    request: Tree
    prompt_style: Name = Field("raw", title="Prompt style")
    answer: AnswerShape = AnswerShape()
    stream: StreamShape | None = None
    error: Path = Field("", title="Error")
    """Where an answer of status 200 says that there is none."""
    content_type: Annotated[HeaderText, AfterValidator(str.strip)] = Field("application/json", max_length=200)
    accept: Annotated[HeaderText, AfterValidator(str.strip)] = Field("application/json", max_length=200)

    @cached_property
    def named(self) -> frozenset[str]:
        """The placeholders of the request."""
        return frozenset(placeholders(self.request))

    # --- requests ---

    @cached_property
    def parameters(self) -> ParameterTable:
        """The common parameters that it takes; `stop` always, as we can end an answer ourselves."""
        taken = [name for name in PARAMETERS if name in self.named or name == "stop"]
        table = ParameterTable.of(*taken)
        return table.changed(max_completion_tokens=Rule("max_tokens")) if "max_tokens" in taken else table

    def body(self, call: Call) -> Any:
        given = self.parameters.apply(call)
        given |= self._asked(call) | {"stop": self._stops_sent(call) or None}
        for name in given.keys() - self.named - {"stop", *ASKED, "system"}:
            call.adjusted.append(Adjustment(name, "dropped"))
        given |= {"model": call.target.upstream_id, "stream": call.stream, "request_id": call.request_id or None}
        for name, value in query_template_tree.defaults(self.request, given).items():
            call.adjusted.append(Adjustment(name, f"set to {value}"))
        return query_template_tree.filled(self.request, given)

    def _asked(self, call: Call) -> JSON:
        """The call's content under the names of the placeholders."""
        found = self._of_chat(call) if call.mode is Mode.CHAT else self._of_texts(call)
        if not any(found.get(name) is not None for name in self.named & set(ASKED)):
            raise RequestRefused(f"This model's query template has no place for what a call for {call.mode} asks.")
        return found

    def _of_chat(self, call: Call) -> JSON:
        messages = wire.plain(call.body["messages"])
        system = None
        if "system" in self.named:
            said = [turn.text for turn in prompt_formats.turns(call) if turn.role == "system"]
            messages = [message for message in messages if message["role"] not in {"system", "developer"}]
            system = "\n\n".join(said) or None
        prompt = self._rendered(call, messages) if "prompt" in self.named else None
        return {"messages": messages, "prompt": prompt, "system": system}

    def _rendered(self, call: Call, messages: Any) -> str:
        target = structs.replace(call.target, options={"prompt_format": self.prompt_style})
        return prompt_formats.render(structs.replace(call, target=target, body={"messages": messages})).text

    def _of_texts(self, call: Call) -> JSON:
        if call.mode is Mode.EMBEDDING:
            return {"input": feature_extraction.texts_of(call)}
        if call.mode is not Mode.COMPLETION:
            return {}
        text = text_of(call.body["prompt"])
        return {"prompt": text, "messages": [{"role": "user", "content": text}]}

    # --- stop sequences ---

    def _stops(self, call: Call) -> list[str]:
        """Those of the caller, and those with which the prompt style ends a turn."""
        given = list_of(call.body.get("stop"))
        styled = FORMATS[self.prompt_style].stops if call.mode is Mode.CHAT and "prompt" in self.named else ()
        return [*given, *(stop for stop in styled if stop not in given)]

    def _stops_sent(self, call: Call) -> list[str]:
        stops, given = self._stops(call), list_of(call.body.get("stop"))
        if "stop" not in self.named:
            if given:
                call.adjusted.append(Adjustment("stop", "applied to the answer, as the endpoint takes none"))
            return []
        if len(stops) > len(given):
            call.adjusted.append(Adjustment("stop", f"extended by {wire.encode(stops[len(given) :]).decode()}"))
        return stops

    def cuts(self, call: Call) -> Sequence[str]:
        """Where we end the answer ourselves."""
        return () if "stop" in self.named else self._stops(call)

    # --- answers ---

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        content = content_of(answer.body, self.answer.text, secrets)
        self.refuse(content, secrets)
        try:
            return self._read(call, answer, content, secrets)
        except PathProblem as problem:
            raise unfit(problem, answer.body, secrets) from problem

    def _read(self, call: Call, answer: Answer, content: Any, secrets: Sequence[str]) -> Reply:
        usage, model = self.answer.usage(content), call.target.upstream_id
        if call.mode is Mode.EMBEDDING:
            vectors = wire.encode(at(content, self.answer.vectors))
            return feature_extraction.reply(call, structs.replace(answer, body=vectors), secrets, usage)
        text, stopped = cut(text_at(content, self.answer.text), self.cuts(call))
        finish = "stop" if stopped else finish_of(found_at(content, self.answer.finish))
        if call.mode is Mode.CHAT:
            return chat_reply({"content": text}, finish, usage, model=model)
        return completion_reply([(text, finish)], usage, model=model)

    def refuse(self, content: Any, secrets: Sequence[str]) -> None:
        """Raise what an error inside an answer of status 200 amounts to."""
        if self.error:
            said = found_at(content, self.error)
            if said:
                words = said if isinstance(said, str) else wire.encode(said).decode()
                raise problems.inside({"error": {"message": words}}, secrets)
        elif isinstance(content, dict) and content.get("error"):
            raise problems.inside(content, secrets)

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        """Reads the stream's frames, whatever carried them; `whole`: one frame of all its bytes."""
        if self.stream is None:
            raise BadReply("This model's query template knows no streams.")
        return _Reader(self, self.stream, call, secrets)


class _Reader(ShapedReader):
    def __init__(self, shape: QueryShape, stream: StreamShape, call: Call, secrets: Sequence[str]) -> None:
        super().__init__(secrets, call.wants_usage)
        self.mode, self.model = call.mode, call.target.upstream_id
        self._shape, self._stream = shape, stream
        self._scissors = Scissors(shape.cuts(call))
        self._so_far = ""

    def feed(self, frame: Frame) -> Sequence[bytes]:
        if self._done:
            return ()
        if self._stream.end and frame.data.strip() == self._stream.end.encode():
            self._done = True
            return self._over("stop")
        content = content_of(frame.data, self._stream.text, self._secrets)
        self._shape.refuse(content, self._secrets)
        self._count(content)
        piece = self._piece(content, frame.data)
        made = self._text(self._scissors.feed(piece)) if piece is not None and not self.finish_reason else []
        reason = found_at(content, self._stream.finish)
        if not reason and not self._scissors.stopped:
            return made
        return [*made, *self._over("stop" if self._scissors.stopped else finish_of(reason))]

    def end(self) -> Sequence[bytes]:
        """Without a word for it, a stream ends where its bytes do."""
        if not self._stream.end and not self._stream.finish and self._heard:
            return [*self._over("stop"), *super().end()]
        return super().end()

    def _piece(self, content: Any, data: bytes) -> str | None:
        """The new text of one event; None: it is about something else."""
        found = found_at(content, self._stream.text) if self._stream.text else None
        if found is None:
            return None
        if not isinstance(found, str):
            try:
                return text_at(content, self._stream.text)
            except PathProblem as problem:
                raise unfit(problem, data, self._secrets) from problem
        if not self._stream.cumulative:
            return found
        new = found[len(self._so_far) :] if found.startswith(self._so_far) else ""
        self._so_far += new
        return new

    def _count(self, content: Any) -> None:
        told = self._stream.usage(content)
        prompt = self.usage.prompt_tokens if told.prompt_tokens is None else told.prompt_tokens
        answer = self.usage.completion_tokens if told.completion_tokens is None else told.completion_tokens
        self.usage = wire.usage(prompt, answer, suspect=told.suspect or self.usage.suspect)

    def _over(self, reason: str) -> list[bytes]:
        """The last pieces, once; numbers may still come after them."""
        if self.finish_reason:
            return []
        return [*self._text(self._scissors.rest()), *self._finish(reason)]


def content_of(data: bytes, path: str, secrets: Sequence[str]) -> Any:
    """An answer as JSON; one that is the text itself may be plain."""
    try:
        return wire.decode(wire.ANY, data, secrets)
    except BadReply:
        if path != HERE:
            raise
        return data.decode(errors="replace")


def found_at(content: Any, path: str) -> Any:
    """What stands there; None: nothing does, or there is no path."""
    if not path:
        return None
    try:
        return at(content, path)
    except PathProblem:
        return None


def finish_of(reason: Any) -> str:
    word = reason.lower() if isinstance(reason, str) else ""
    return next((name for name, words in FINISH_REASONS.items() if word in words), "stop")


def unfit(problem: PathProblem, data: bytes, secrets: Sequence[str]) -> BadReply:
    said = data[: problems.MAX_READ].decode(errors="replace")
    return BadReply(UNFIT, evidence=scrub(f"{problem}{SAID}{said}", secrets))
