"""What all readers of streams keep, and how a stream that was cut shows."""

from collections.abc import Sequence

from connections.providers.calls import Usage
from connections.providers.errors import BadReply


class StreamReader:
    """The base of an `EventReader`: a dialect adds `feed` and `end`."""

    def __init__(self, secrets: Sequence[str], wants_usage: bool) -> None:
        self.usage = Usage()
        self.finish_reason = ""
        self.model = ""
        self._secrets = secrets
        self._wants_usage = wants_usage
        self._heard = False
        """Something of the answer came."""
        self._done = False
        """The stream said itself that it is over."""

    def _check_end(self) -> None:
        """The bytes are over: raise BadReply unless that is a proper end."""
        if not self._done and not self.finish_reason:
            raise BadReply("The provider's answer was cut off before its end.")
        if not self._heard:
            raise BadReply("The provider's answer was empty.")
