"""Gemini's models, which chat and draw, as Vertex and the developer API host them alike."""

from collections.abc import Sequence
from typing import ClassVar

from connections.providers import gemini_requests as requests
from connections.providers.calls import JSON, Call, Mode, Reply, Target, Usage
from connections.providers.contract import Abilities, EventReader
from connections.providers.gemini_models import thinking_of
from connections.providers.gemini_replies import ContentReader, completion, pictures
from connections.providers.google_family import GoogleFamily
from connections.providers.model_families.family import NOT_TOLD
from connections.providers.parameters import ParameterTable


class GeminiChat(GoogleFamily):
    name = "gemini"
    mode = Mode.CHAT
    parameters = requests.CHAT
    whole, streamed = "generateContent", "streamGenerateContent"

    def __init__(self, *, image_urls: bool) -> None:
        """`image_urls`: the host fetches pictures itself."""
        self._can = Abilities(choices=requests.CHOICES, image_urls=image_urls)

    def parameters_for(self, target: Target) -> ParameterTable:
        return requests.WITHOUT_THINKING if thinking_of(target.known_as) == "none" else self.parameters

    def abilities(self, target: Target) -> Abilities:
        return self._can

    def body(self, call: Call) -> JSON:
        return requests.chat_body(call, self.parameters_for(call.target))

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        return completion(body, secrets)

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        return ContentReader(secrets, call.wants_usage)


class GeminiImages(GoogleFamily):
    name = "gemini_images"
    mode = Mode.IMAGE
    parameters = requests.IMAGE
    whole = "generateContent"
    can: ClassVar[Abilities] = Abilities(streams=False, choices=1)

    def body(self, call: Call) -> JSON:
        return requests.image_body(call, self.parameters)

    def reply(self, call: Call, body: bytes, secrets: Sequence[str], told: Usage = NOT_TOLD) -> Reply:
        return pictures(body, secrets)
