"""What the families of models that Google hosts share: a body, and the operation that it is posted to."""

from collections.abc import Sequence
from typing import ClassVar

from connections.providers.calls import Call
from connections.providers.contract import EventReader
from connections.providers.errors import RequestRefused
from connections.providers.model_families.family import Family


class GoogleFamily(Family):
    publisher: ClassVar[str] = "google"
    whole: ClassVar[str] = "predict"
    """The operation that answers whole."""
    streamed: ClassVar[str] = ""
    """The one that answers piece by piece."""

    def operation(self, call: Call) -> str:
        return self.streamed if call.stream and self.streamed else self.whole

    def events(self, call: Call, secrets: Sequence[str]) -> EventReader:
        raise RequestRefused("This model gives no streams.", status=400)
