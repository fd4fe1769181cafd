"""What every provider promises. Adapters only translate: no network, no Django in here.

An adapter turns a `Call` into what its system speaks, and the answer back into OpenAI's language: a `Reply`, or
the chunks that an `EventReader` yields.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from pydantic import SecretStr

from connections.providers import prompt_formats
from connections.providers.calls import (
    Answer,
    Call,
    Frame,
    Framing,
    Mode,
    ModelInfo,
    Outgoing,
    Reply,
    Steps,
    Target,
    Usage,
)
from connections.providers.errors import ProviderError
from connections.providers.parameters import ParameterTable
from connections.providers.prompt_formats import Rendered
from connections.providers.settings import ModelOptions, ProviderSettings


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
    """How requests prove who we are. Whoever sends renews a proof that ran out, one renewal at a time."""

    def renewal(self) -> Steps[None] | None:
        """The steps to a new proof, their requests signed; None: the one at hand holds."""

    def sign(self, outgoing: Outgoing) -> Outgoing:
        """The request with its proof."""

    def refused(self, answer: Answer) -> bool:
        """Whether a new proof may cure this refusal; the old one is forgotten then."""


@dataclass(frozen=True, slots=True)
class StaticHeaders:
    """A key in a header, the same for every request."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def renewal(self) -> None:
        return None

    def sign(self, outgoing: Outgoing) -> Outgoing:
        return Outgoing(outgoing.method, outgoing.url, {**outgoing.headers, **self.values}, outgoing.body)

    def refused(self, answer: Answer) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one request to a model can do; what is missing, we supply."""

    streams: bool = True
    choices: int = 128
    """The most answers (`n`) of one request; images too."""
    inputs: int = 2048
    """The most texts of one embedding request."""
    prompts: int = 128
    """The most prompts of one completion request."""
    image_urls: bool = True
    """Fetches pictures from addresses itself. Otherwise we fetch them and send them along."""


ABLE = Abilities()
ONE_CHOICE = Abilities(choices=1)


@dataclass(frozen=True, slots=True)
class Retired:
    """A service that is switched off at its vendor; the adapter stays for archived and self-hosted endpoints."""

    since: str
    """ISO date, or a year; empty: not known."""
    successor: str = ""
    """What to use instead, as people know it."""


GROUPS: Mapping[str, str] = {
    "hosted": "Hosted services",
    "gateway": "Gateways",
    "self_hosted": "Servers of your own",
    "in_process": "Engines that we run",
}
"""Where the gallery shows a provider, by its `group`."""
NOTHING: Mapping[str, "Provider"] = MappingProxyType({})


class Provider:
    """One system's dialect, set up with one connection's settings. Immutable and safe to share."""

    kind: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str] = ""
    """One line under its name in the gallery."""
    mark: ClassVar[str] = "generic"
    """File name in `templates/icons/providers/`."""
    order: ClassVar[int] = 100
    """Place in its group of the gallery."""
    group: ClassVar[str] = "hosted"
    """One of `GROUPS`."""
    retired: ClassVar[Retired | None] = None
    docs_url: ClassVar[str] = ""
    """Where an admin finds the values that the form asks for."""
    Settings: ClassVar[type[ProviderSettings]]
    ModelOptions: ClassVar[type[ModelOptions]] = ModelOptions
    """What can be set for each of its models."""
    modes: ClassVar[frozenset[Mode]]
    catalogue: ClassVar[Sequence[ModelInfo]] = ()
    parameters: ClassVar[ParameterTable]
    framing: ClassVar[Framing] = Framing.SSE
    checks_by_post: ClassVar[bool] = False
    """Whether its free check has no GET."""
    price_provider: ClassVar[str] = ""
    """The provider's id in the price table; empty: look the model up by its name alone."""
    engine: ClassVar[str] = ""
    """The program of `connections.engines` that its models run in; empty: they run elsewhere."""
    do_not_call_in_templates: ClassVar[bool] = True
    """Pages show the class itself; template engines would make an instance of it."""

    def __init__(self, settings: ProviderSettings, lent: Mapping[str, "Provider"] = NOTHING) -> None:
        """`lent`: other connections that the settings point to, by the setting's name."""
        self.settings = settings
        self.lent = lent

    # --- every call ---

    @property
    def auth(self) -> Auth:
        raise NotImplementedError

    def request(self, call: Call) -> Outgoing:
        """The request without its proof, which `auth` adds."""
        raise NotImplementedError

    def reply(self, call: Call, answer: Answer) -> Reply:
        """Read a 2xx answer. Raises BadReply, or what an error inside HTTP 200 amounts to."""
        raise NotImplementedError

    def events(self, call: Call) -> EventReader:
        raise NotImplementedError

    def problem(self, answer: Answer) -> ProviderError:
        """Name what an answer of 300 or more amounts to."""
        raise NotImplementedError

    def steps(self, call: Call) -> Steps[Reply]:
        """A whole call. Dialects that take several requests override this."""
        return self.read(call, (yield self.request(call)))

    def read(self, call: Call, answer: Answer) -> Reply:
        """What the answer to `request` amounts to. Raises ProviderError."""
        if answer.status >= 300:
            raise self.problem(answer)
        return self.reply(call, answer)

    @property
    def takes_one_step(self) -> bool:
        """Whether a whole call is `request` and `read`, as most are."""
        return type(self).steps is Provider.steps

    def opening(self, call: Call) -> Steps[Outgoing | Reply]:
        """The steps up to the request whose answer is the stream; a whole Reply where there is no stream to open."""
        return self.request(call)
        yield

    def framing_of(self, call: Call) -> Framing:
        return self.framing

    # --- checks and lists ---

    def check(self) -> Outgoing:
        """A request that costs nothing and proves address and key."""
        raise NotImplementedError

    def check_problem(self, answer: Answer) -> ProviderError | None:
        """What the answer to `check` proves; None: address and key are fine."""
        return None if answer.status < 300 else self.problem(answer)

    def models(self, answer: Answer) -> list[ModelInfo]:
        """The models that the answer to `check` lists; empty: it lists none."""
        return []

    def listing(self, answer: Answer) -> Steps[list[ModelInfo]]:
        """All models, where more requests than `check`, whose answer this is, are needed to know them."""
        return self.models(answer)
        yield

    def offered(self) -> Sequence[ModelInfo]:
        """Models that the settings alone tell of, so that nobody needs to be asked."""
        return []

    def lists(self, name: str) -> bool:
        """Whether its list would name such a model: one that is missing is gone then."""
        return True

    # --- one model ---

    @classmethod
    def known(cls, name: str, mode: str) -> ModelInfo | None:
        """What the catalogue says of a model."""
        return next((info for info in cls.catalogue if info.id == name and info.mode == mode), None)

    def parameters_for(self, target: Target) -> ParameterTable:
        """The table for one model, with its quirks."""
        return self.parameters

    def abilities(self, target: Target) -> Abilities:
        return ABLE if self.parameters_for(target).takes("n") else ONE_CHOICE

    def priced_as(self, target: Target) -> str:
        """The name under which the price table knows the model."""
        return target.known_as

    def prompt(self, call: Call) -> Rendered:
        """The exact text that a model without chat gets for the messages of a chat call."""
        return prompt_formats.render(call)

    # --- secrets ---

    def secrets(self) -> list[str]:
        """Every secret value, for scrubbing what the provider says."""
        values = (getattr(self.settings, name) for name in self.Settings.secret_names())
        own = [text for value in values for text in _secret_texts(value) if text]
        return own + [text for provider in self.lent.values() for text in provider.secrets()]


def _secret_texts(value: Any) -> list[str]:
    if isinstance(value, SecretStr):
        return [value.get_secret_value()]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _secret_texts(item)]
    return [text for item in value for text in _secret_texts(item)] if isinstance(value, list | tuple) else []
