"""A query template: how an endpoint that speaks no known dialect is asked and understood, as an admin describes it.

The request is a JSON tree with placeholder nodes (`query_template_tree`), its answers are read by paths
(`query_template_paths`). Samples kept beside it are its tests: a template whose samples fail cannot be saved.
Any provider may have a field of this type in its `ModelOptions`; the field gets a page of its own.
"""

from typing import Any, Self

import msgspec
from pydantic import BaseModel, Field, ValidationInfo, model_validator

from connections.providers import query_template_tree
from connections.providers.query_template_samples import MAX_SAMPLES, Outcome, Sample, failures, outcomes
from connections.providers.query_template_shape import QueryShape
from connections.providers.settings import STORED

__all__ = ["MAX_SIZE", "STORED", "Outcome", "QueryTemplate", "Sample", "template_names"]

MAX_SIZE = 1_000_000
"""Bytes of a template with its samples."""
LEAST_PATH = "Say where the text stands in an answer, such as choices[0].text, or . for the answer itself."


class QueryTemplate(QueryShape):
    samples: tuple[Sample, ...] = Field((), max_length=MAX_SAMPLES)

    @model_validator(mode="before")
    @classmethod
    def _fits(cls, given: Any) -> Any:
        """Refused before anything is read: what is too large or too deep."""
        if not isinstance(given, dict):
            return given
        try:
            query_template_tree.check_depth(given)
            size = len(msgspec.json.encode(given))
        except (TypeError, UnicodeEncodeError, OverflowError) as error:
            raise ValueError("The template holds something that cannot be written as JSON.") from error
        if size > MAX_SIZE:
            raise ValueError(f"The template has {size:,} bytes; at most {MAX_SIZE:,} are kept.")
        return given

    @model_validator(mode="after")
    def _proven(self, info: ValidationInfo) -> Self:
        if "input" in self.named and not self.answer.vectors:
            raise ValueError("Say where the vectors stand in an answer, such as data, or . for the answer itself.")
        if "input" not in self.named and not self.answer.text:
            raise ValueError(LEAST_PATH)
        if self.stream and not self.stream.text:
            raise ValueError("Say where the new text stands in an event of a stream, such as token.text.")
        if info.context != STORED and (problems := failures(self, self.samples)):
            raise ValueError("\n".join(problems))
        return self

    def outcomes(self) -> list[Outcome]:
        """How its samples fare."""
        return outcomes(self, self.samples)


def template_names(options: type[BaseModel]) -> list[str]:
    """The fields that hold query templates."""
    return [name for name, info in options.model_fields.items() if _is_template(info.annotation)]


def _is_template(annotation: Any) -> bool:
    arguments: tuple[Any, ...] = getattr(annotation, "__args__", ())
    return annotation is QueryTemplate or any(map(_is_template, arguments))
