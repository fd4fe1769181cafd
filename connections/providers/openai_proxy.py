"""A proxy for OpenAI's chats that is known by one full URL, whatever its path: nothing is added to it."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter

from connections.providers import wire
from connections.providers.bearer import BearerDialect, BearerSettings
from connections.providers.calls import Answer, Call, Mode, Outgoing
from connections.providers.errors import ProviderError
from connections.providers.fields import Headers, Url
from connections.providers.parameters import COMMON, ParameterTable
from connections.providers.settings import setting

PROBE = {"model": "", "messages": []}
UNDERSTOOD = frozenset({400, 422})
"""What an empty question is answered with where address and key are fine."""
_PLAIN = TypeAdapter(Url)


def _full_url(text: str) -> str:
    """Checked like any address, and left whole."""
    _PLAIN.validate_python(text)
    return text.strip()


class OpenAIProxy(BearerDialect):
    kind = "openai_proxy"
    label = "OpenAI proxy (full URL)"
    summary = "One address that takes chats in OpenAI's form, with a path of its own."
    group = "gateway"
    order = 110
    modes = frozenset({Mode.CHAT})
    parameters = ParameterTable.of(*COMMON)
    checks_by_post = True

    class Settings(BearerSettings):
        base_url: Annotated[str, AfterValidator(_full_url)] = setting(
            "Full URL",
            help="Chats are posted exactly there. If it ends with /chat/completions, prefer the OpenAI-compatible "
            "endpoint: that can list models too.",
            target=True,
            placeholder="https://proxy.example.com/openai-proxy",
            min_length=1,
        )
        extra_headers: Headers = setting(
            "Extra headers",
            default={},
            help="Sent with every request. They are shown to connection admins: no secrets here.",
            target=True,
            advanced=True,
        )

    settings: Settings

    def extra_headers(self) -> Mapping[str, str]:
        return self.settings.extra_headers

    def url_of(self, call: Call) -> str:
        return self.base_url

    def check(self) -> Outgoing:
        """A proxy may have no other route than this one; an empty question costs nothing."""
        return Outgoing("POST", self.base_url, self._headers, wire.encode(PROBE))

    def check_problem(self, answer: Answer) -> ProviderError | None:
        return None if answer.status in UNDERSTOOD else super().check_problem(answer)
