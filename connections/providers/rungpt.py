"""RunGPT: Jina's model server of 2023. Routes of its own, answers nearly like OpenAI's.

Its streams bring words without their spaces, so answers are asked for whole.
"""

from collections.abc import Mapping

from connections.providers import text_generation, wire
from connections.providers.calls import JSON, Answer, Call, Mode, ModelInfo, Outgoing, Target
from connections.providers.contract import Abilities, Retired
from connections.providers.fields import Url, joined
from connections.providers.openai_dialect import OpenAIDialect
from connections.providers.own_server import server_address
from connections.providers.parameters import ParameterTable
from connections.providers.settings import ProviderSettings

QUIET: JSON = {"echo": False, "stop": []}
"""Otherwise the answer repeats the prompt, and ends with its first sentence."""
WHOLE = Abilities(streams=False, prompts=1, choices=1)


class RunGPT(OpenAIDialect):
    kind = "rungpt"
    label = "RunGPT"
    summary = "Jina's server for open models, of 2023."
    mark = "rungpt"
    group = "self_hosted"
    retired = Retired("2023", "vLLM or llama.cpp")
    price_provider = "local"
    modes = frozenset({Mode.CHAT, Mode.COMPLETION})
    parameters = ParameterTable.of(
        *("temperature", "top_p", "top_k", "max_tokens", "repetition_penalty", "stop", "echo", "do_sample")
    )

    class Settings(ProviderSettings):
        base_url: Url = server_address("http://rungpt.internal:51002")

    settings: Settings

    @property
    def base_url(self) -> str:
        return self.settings.base_url

    def sign_in(self) -> Mapping[str, str]:
        return {}

    def request(self, call: Call) -> Outgoing:
        """The server has one model, so none is named."""
        body = {**QUIET, **self.table_for(call).apply(call)}
        if isinstance(stop := wire.plain(body["stop"]), str):
            body["stop"] = [stop]
        if call.mode is Mode.COMPLETION:
            body["prompt"] = text_generation.text_of(body["prompt"])
        path = "chat" if call.mode is Mode.CHAT else "generate"
        return Outgoing("POST", joined(self.base_url, path), self._headers, wire.encode(body))

    def abilities(self, target: Target) -> Abilities:
        return WHOLE

    def check(self) -> Outgoing:
        return Outgoing("GET", joined(self.base_url, ""))

    def models(self, answer: Answer) -> list[ModelInfo]:
        return []
