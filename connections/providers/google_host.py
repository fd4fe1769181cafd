"""What the hosts of Google's models have in common: each family of models has its own bodies and operation."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from msgspec import structs

from connections.providers import gemini_problems, problems, wire
from connections.providers.calls import Adjustment, Answer, Call, Mode, Outgoing, Reply, Steps, Target
from connections.providers.contract import Abilities, EventReader, Provider
from connections.providers.errors import ProviderError
from connections.providers.gemini_requests import CHAT
from connections.providers.google_family import GoogleFamily
from connections.providers.model_families.family import Family
from connections.providers.parameters import ParameterTable
from connections.providers.prompt_formats import Rendered
from connections.providers.shapes import decoded

JSON_BODY = {"Content-Type": "application/json"}


class GoogleHost(Provider):
    """Subclasses say which family a model is of, and where it is."""

    price_provider = "google"
    parameters = CHAT
    families: ClassVar[Mapping[Mode, GoogleFamily]]
    """One for each mode, where the mode alone decides."""

    # --- what a subclass says ---

    def family(self, target: Target) -> Family:
        return self.families.get(target.mode) or self.families[Mode.CHAT]

    def url(self, call: Call, family: Family) -> str:
        """The address that the call is posted to."""
        raise NotImplementedError

    @property
    def secret_texts(self) -> Sequence[str]:
        """What the provider's words must not show, as it is now."""
        return self.secrets()

    # --- the contract ---

    def request(self, call: Call) -> Outgoing:
        call = _plainly_named(call)
        family = self.family(call.target)
        return Outgoing("POST", self.url(call, family), JSON_BODY, wire.encode(family.body(call)))

    def reply(self, call: Call, answer: Answer) -> Reply:
        return self.family(call.target).reply(call, answer.body, self.secret_texts)

    def events(self, call: Call) -> EventReader:
        return self.family(call.target).events(call, self.secret_texts)

    def problem(self, answer: Answer) -> ProviderError:
        return gemini_problems.named(answer, self.secret_texts)

    def opening(self, call: Call) -> Steps[Outgoing | Reply]:
        """A stream holds one answer only; several come whole."""
        if call.mode is Mode.CHAT and (wire.plain(call.body.get("n")) or 1) > 1:
            call.adjusted.append(Adjustment("stream", "answered whole"))
            return (yield from self.steps(structs.replace(call, stream=False)))
        return self.request(call)

    def parameters_for(self, target: Target) -> ParameterTable:
        return self.family(target).parameters_for(_named(target))

    def abilities(self, target: Target) -> Abilities:
        return self.family(target).abilities(_named(target))

    def priced_as(self, target: Target) -> str:
        return bare_name(target.known_as)

    def prompt(self, call: Call) -> Rendered:
        return self.family(call.target).prompt(call)

    def listed(self, answer: Answer) -> Mapping[str, Any]:
        """An answer that lists `models`. Raises BadReply if it does not."""
        content = decoded(answer.body, self.secret_texts)
        if not isinstance(content.get("models"), list):
            raise problems.unreadable(answer.body, self.secret_texts)
        return content


@lru_cache(maxsize=4096)
def bare_name(name: str) -> str:
    """`gemini-3.8-flash` of `publishers/google/models/gemini-3.8-flash` and the like."""
    return name.rpartition("/")[2]


def _named(target: Target) -> Target:
    bare = bare_name(target.known_as)
    return target if bare == target.known_as else structs.replace(target, underlying=bare)


def _plainly_named(call: Call) -> Call:
    target = _named(call.target)
    return call if target is call.target else structs.replace(call, target=target)
