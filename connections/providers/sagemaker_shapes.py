"""What the containers behind SageMaker's endpoints take and give: SageMaker itself only passes their bytes on."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import structs

from connections.providers import feature_extraction, problems, prompt_formats, text_generation, wire
from connections.providers.calls import Answer, Call, Mode, Reply
from connections.providers.contract import Abilities, EventReader
from connections.providers.errors import BadReply, RequestRefused
from connections.providers.model_families import FAMILIES
from connections.providers.model_families.family import Family, text_of
from connections.providers.openai_replies import ChunkReader, completion
from connections.providers.parameters import COMMON, ParameterTable, Rule
from connections.providers.prompt_formats import Rendered
from connections.providers.query_template import QueryTemplate
from connections.providers.shapes import chat_reply, completion_reply, mapping

NO_TEMPLATE = "This model has the shape own-template, but no query template yet."
ONE, WHOLE = Abilities(choices=1, prompts=1), Abilities(choices=1, prompts=1, streams=False)
LENGTH = Rule("max_new_tokens", minimum=1)


class Shape:
    """One kind of container. Immutable and safe to share."""

    modes: frozenset[Mode]
    """What it answers itself; the rest is emulated."""
    parameters: ParameterTable
    can = ONE
    framing = "sse"
    """How the bytes inside its stream's parts fall into frames: sse, lines or whole."""
    content_type = accept = "application/json"

    def prompt(self, call: Call) -> Rendered:
        return prompt_formats.render(call)

    def body(self, call: Call) -> Any:
        raise NotImplementedError

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        raise NotImplementedError

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        raise BadReply("This endpoint does not stream.")


class FamilyShape(Shape):
    """A vendor's package of one of its models, with the bodies that the family has everywhere."""

    framing = "lines"

    def __init__(self, family: Family) -> None:
        self._family = family
        self.modes, self.parameters, self.can = frozenset({family.mode}), family.parameters, family.can

    def prompt(self, call: Call) -> Rendered:
        return self._family.prompt(call)

    def body(self, call: Call) -> Any:
        return self._family.body(call)

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        return self._family.reply(call, _in_object(answer.body, "generations"), secrets)

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return self._family.events(call, secrets)


def _in_object(body: bytes, name: str) -> bytes:
    """Some packages leave the object around their list away."""
    return b'{"%s":%s}' % (name.encode(), body) if body.lstrip()[:1] == b"[" else body


class Messages(Shape):
    """OpenAI's chat completions: TGI from 1.4 on, vLLM, LMI."""

    modes = frozenset({Mode.CHAT})
    parameters = ParameterTable.of(*COMMON).changed(max_completion_tokens=Rule("max_tokens"))
    can = Abilities()

    def body(self, call: Call) -> Any:
        body = {"model": call.target.upstream_id, **self.parameters.apply(call)}
        return {**body, "stream": True, "stream_options": {"include_usage": True}} if call.stream else body

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        return completion(answer.body, secrets)

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return ChunkReader(secrets, call.wants_usage)


class TextGeneration(Shape):
    """Text Generation Inference, which the containers of Hugging Face for text run."""

    modes = frozenset({Mode.COMPLETION})
    parameters = text_generation.TABLE

    def body(self, call: Call) -> Any:
        return {**text_generation.body(call, self.parameters), "stream": call.stream}

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        return text_generation.reply(call, answer, secrets)

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return text_generation.Chunks(call, secrets)


class Llama(TextGeneration):
    """Llama 2 and 3 of JumpStart, whose answers have three forms."""

    parameters = ParameterTable.of("temperature", "stop", max_tokens=LENGTH, top_p=Rule(minimum=0.01, maximum=0.99))

    def prompt(self, call: Call) -> Rendered:
        """An endpoint's name may not tell which Llama stands behind it."""
        if call.target.options.get("prompt_format") or "llama" in prompt_formats.guess(call.target.known_as):
            return super().prompt(call)
        return prompt_formats.render(
            structs.replace(call, target=structs.replace(call.target, options={"prompt_format": "llama-3"}))
        )

    def body(self, call: Call) -> Any:
        body = text_generation.body(call, self.parameters)
        body["parameters"]["return_full_text"] = False
        return {**body, "stream": True} if call.stream else body

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        first = _first(wire.decode(wire.ANY, answer.body, secrets))
        if isinstance(first.get("generation"), str):
            answer = structs.replace(answer, body=wire.encode({**first, "generated_text": first["generation"]}))
        return super().reply(call, answer, secrets)


class Dialogs(Shape):
    """Llama 2 chat of JumpStart (the endpoints ending in -f): a list of one conversation."""

    modes = frozenset({Mode.CHAT})
    parameters = ParameterTable.of(
        "temperature", "top_p", max_tokens=LENGTH, max_completion_tokens=Rule("max_new_tokens", minimum=1)
    )
    can = WHOLE

    def body(self, call: Call) -> Any:
        given = self.parameters.apply(call)
        del given["messages"]
        dialog = [{"role": turn.role, "content": turn.text} for turn in prompt_formats.turns(call)]
        return {"inputs": [dialog], "parameters": given}

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        content = wire.decode(wire.ANY, answer.body, secrets)
        text = mapping(_first(content).get("generation")).get("content")
        if not isinstance(text, str):
            raise _unreadable(content, answer, secrets)
        return chat_reply({"content": text}, "stop", wire.usage(None, None), model=call.target.upstream_id)


class Summaries(Shape):
    """Hugging Face's containers for summarization."""

    modes = frozenset({Mode.COMPLETION})
    parameters = ParameterTable.of("temperature", "top_p", "top_k", "repetition_penalty", max_tokens=LENGTH)
    can = WHOLE

    def prompt(self, call: Call) -> Rendered:
        """The texts alone: what is to be summarized has no speakers."""
        return prompt_formats.render(
            structs.replace(call, target=structs.replace(call.target, options={"prompt_format": "raw"}))
        )

    def body(self, call: Call) -> Any:
        given = self.parameters.apply(call)
        text = text_of(given.pop("prompt"))
        return {"inputs": text, **({"parameters": given} if given else {})}

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        content = wire.decode(wire.ANY, answer.body, secrets)
        text = _first(content).get("summary_text")
        if not isinstance(text, str):
            raise _unreadable(content, answer, secrets)
        return completion_reply([(text, "stop")], wire.usage(None, None), model=call.target.upstream_id)


class Vectors(Shape):
    """Text Embeddings Inference, and Hugging Face's containers for feature extraction."""

    modes = frozenset({Mode.EMBEDDING})
    parameters = ParameterTable.of()
    can = Abilities(streams=False, inputs=32)

    def body(self, call: Call) -> Any:
        self.parameters.apply(call)
        return {"inputs": feature_extraction.texts_of(call)}

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        content = wire.decode(wire.ANY, answer.body, secrets)
        inner = next((mapping(content)[name] for name in ("embedding", "embeddings") if name in mapping(content)), None)
        if inner is not None:
            answer = structs.replace(answer, body=wire.encode(inner))
        return feature_extraction.reply(call, answer, secrets, wire.usage(None, 0))


class OwnTemplate(Shape):
    """Whatever an admin describes."""

    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING})

    def __init__(self, template: QueryTemplate) -> None:
        self._template = template
        self.parameters = template.parameters
        self.can = Abilities(choices=1, prompts=1, inputs=32, streams=template.stream is not None)
        self.framing = template.stream.framing if template.stream else "sse"
        self.content_type, self.accept = template.content_type, template.accept

    def body(self, call: Call) -> Any:
        return self._template.body(call)

    def reply(self, call: Call, answer: Answer, secrets: Sequence[str]) -> Reply:
        return self._template.reply(call, answer, secrets)

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return self._template.events(call, secrets)


class NoTemplate(Shape):
    """A model that awaits its query template: it can be shown, but not asked."""

    modes = frozenset({Mode.CHAT, Mode.COMPLETION, Mode.EMBEDDING})
    parameters = ParameterTable.of()
    can = WHOLE

    def body(self, call: Call) -> Any:
        raise RequestRefused(NO_TEMPLATE)


def _first(content: Any) -> Mapping[str, Any]:
    """The answer to the one input, with or without a list around it."""
    return mapping(content[0] if isinstance(content, list) and content else content)


def _unreadable(content: Any, answer: Answer, secrets: Sequence[str]) -> Exception:
    told = mapping(content).get("error")
    return problems.inside(content, secrets) if told else problems.unreadable(answer.body, secrets)


SHAPES: Mapping[str, Shape] = {
    "hf-messages": Messages(),
    "hf-tgi": TextGeneration(),
    "hf-summarization": Summaries(),
    "hf-embeddings": Vectors(),
    "llama": Llama(),
    "llama-2-chat": Dialogs(),
    "claude": FamilyShape(FAMILIES["claude-text"]),
    "jurassic-2": FamilyShape(FAMILIES["jurassic-2"]),
    "command": FamilyShape(FAMILIES["cohere-command"]),
}
"""By the name that a model's options give; `own-template` is made of the model's query template."""
