"""A server that copies OpenAI's dialect, as vLLM does: more sampling fields, any model name, an optional key."""

from typing import Annotated

from pydantic import Field

from tests.upstream.openai import Chat, Completion, OpenAI


class WiderChat(Chat):
    top_k: int | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None


class WiderCompletion(Completion):
    top_k: int | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None


class Compatible(OpenAI):
    prefixes = ("",)
    models = ("local-chat", "local-embed")
    key_optional = True
    chat = WiderChat
    completion = WiderCompletion
