"""Streams that repeat the whole text so far in every event."""


class Growing:
    """Gives what is new. A text that got shorter (a stop sequence was cut off) has nothing new."""

    def __init__(self) -> None:
        self._text = ""

    def tail(self, text: str) -> str:
        if not text.startswith(self._text):
            return ""
        new, self._text = text[len(self._text) :], text
        return new
