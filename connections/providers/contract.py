"""What every provider promises. Adapters only translate: no network, no Django in here.

An adapter turns a `Call` into what its system speaks, and the answer back into OpenAI's language: a `Reply`, or
the chunks that an `EventReader` yields.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import SecretStr

from connections.providers.calls import Answer, Call, Frame, Framing, Mode, ModelInfo, Outgoing, Reply, Target, Usage
from connections.providers.errors import ProviderError
from connections.providers.parameters import ParameterTable
from connections.providers.settings import ProviderSettings


class EventReader(Protocol):
    """Reads one stream. Afterwards `usage`, `finish_reason` and `model` say what it told."""

    usage: Usage
    finish_reason: str
    model: str

    def feed(self, frame: Frame) -> Iterable[bytes]:
        """The OpenAI chunks (JSON, without framing) that this frame amounts to. Raises ProviderError."""

    def end(self) -> Iterable[bytes]:
        """The stream was closed: last chunks, or BadReply if it was cut before its proper end."""


class Auth(Protocol):
    """How requests prove who we are."""

    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class StaticHeaders:
    """A key in a header, the same for every request."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def headers(self) -> Mapping[str, str]:
        return self.values


class Provider:
    """One system's dialect, set up with one connection's settings. Immutable and safe to share."""

    kind: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str] = ""
    """One line under its name in the gallery."""
    mark: ClassVar[str] = "generic"
    """File name in `templates/icons/providers/`."""
    order: ClassVar[int] = 100
    """Place in the gallery."""
    docs_url: ClassVar[str] = ""
    """Where an admin finds the values that the form asks for."""
    Settings: ClassVar[type[ProviderSettings]]
    modes: ClassVar[frozenset[Mode]]
    catalogue: ClassVar[Sequence[ModelInfo]] = ()
    parameters: ClassVar[ParameterTable]
    framing: ClassVar[Framing] = Framing.SSE
    price_provider: ClassVar[str] = ""
    """The provider's id in the price table; empty: look the model up by its name alone."""
    do_not_call_in_templates: ClassVar[bool] = True
    """Pages show the class itself; template engines would make an instance of it."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings

    @property
    def auth(self) -> Auth:
        raise NotImplementedError

    def request(self, call: Call) -> Outgoing:
        raise NotImplementedError

    def reply(self, call: Call, answer: Answer) -> Reply:
        """Read a 2xx answer. Raises BadReply, or what an error inside HTTP 200 amounts to."""
        raise NotImplementedError

    def events(self, call: Call) -> EventReader:
        raise NotImplementedError

    def problem(self, answer: Answer) -> ProviderError:
        """Name what an answer of 300 or more amounts to."""
        raise NotImplementedError

    def check(self) -> Outgoing:
        """A request that costs nothing and proves address and key."""
        raise NotImplementedError

    def check_problem(self, answer: Answer) -> ProviderError | None:
        """What the answer to `check` proves; None: address and key are fine."""
        return None if answer.status < 300 else self.problem(answer)

    def models(self, answer: Answer) -> list[ModelInfo]:
        """The models that the answer to `check` lists; empty: it lists none."""
        return []

    def parameters_for(self, target: Target) -> ParameterTable:
        """The table for one model, with its quirks."""
        return self.parameters

    def secrets(self) -> list[str]:
        """Every secret value, for scrubbing what the provider says."""
        values = (getattr(self.settings, name) for name in self.Settings.secret_names())
        return [text for value in values for text in _secret_texts(value) if text]


def _secret_texts(value: Any) -> list[str]:
    if isinstance(value, SecretStr):
        return [value.get_secret_value()]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _secret_texts(item)]
    return [text for item in value for text in _secret_texts(item)] if isinstance(value, list | tuple) else []
