"""Random bytes for ids, drawn ahead: to ask the system for some lets another thread run first, each time."""

import os

SIZE = 12
AHEAD = 256
"""Ids for which is drawn at once."""

_drawn: list[bytes] = []
os.register_at_fork(after_in_child=_drawn.clear)


def drawn() -> bytes:
    """`SIZE` bytes that nobody else gets, in whatever thread."""
    try:
        return _drawn.pop()
    except IndexError:
        many = os.urandom(SIZE * AHEAD)
        _drawn.extend(many[place : place + SIZE] for place in range(SIZE, len(many), SIZE))
        return many[:SIZE]
