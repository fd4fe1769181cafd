"""Connections that wait for the next request, by where they lead."""

from connections.wire import AT_READ, Origin, Wire


class Pool:
    """Of one event loop. A connection comes back by itself when its exchange is over, and leaves when it is closed."""

    def __init__(self) -> None:
        self._idle: dict[Origin, dict[Wire, None]] = {}
        """The one used last is taken first, so that those too many grow old and close."""
        self._closed = False
        self.buffer = memoryview(bytearray(AT_READ))

    def take(self, origin: Origin) -> Wire | None:
        """One that was used before and was not seen to be closed since."""
        idle = self._idle.get(origin)
        return idle.popitem()[0] if idle else None

    def keep(self, wire: Wire) -> None:
        if self._closed:
            wire.abort()
        else:
            self._idle.setdefault(wire.origin, {})[wire] = None

    def lose(self, wire: Wire) -> None:
        idle = self._idle.get(wire.origin)
        if idle is not None:
            idle.pop(wire, None)
            if not idle:
                del self._idle[wire.origin]

    def close(self) -> None:
        self._closed = True
        for idle in self._idle.values():
            for wire in idle:
                wire.abort()
