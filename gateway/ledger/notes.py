"""What a process has asked providers for at this moment: a note of each call, in a file that outlives the process.

The file is mapped into memory, so a note costs no system call, and what stands in it when its process is killed stays
there; a power cut may take it. A process holds the lock of its files. Whoever gets the lock of one finds the calls
that were under way, and sees to it that they are booked.
"""

import logging
import mmap
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import BinaryIO, NamedTuple
from zlib import crc32

import msgspec
from msgspec import Struct
from prometheus_client import Counter

from gateway.ledger.journal import HEAD, held, new_file
from gateway.ledger.record import Record

SLOT = 2048
"""Bytes of a note at the most, with its head: twice what a usual one takes."""
SLOTS = 256
"""Of one file; another is made when they are taken."""
SIZE = SLOT * SLOTS
AGAIN = 10.0
"""Seconds until a file is asked for again after the disk gave none."""
EMPTY = bytes(HEAD.size)
LEFT_OUT = Counter("mesh_ledger_notes_left_out", "Calls made without a note that outlives a killed process")
_encode = msgspec.msgpack.Encoder().encode
logger = logging.getLogger(__name__)


class Window(NamedTuple):
    """Of a budget on which the call is to be booked."""

    id: int
    in_money: bool
    owner: str
    """Who holds the lease that pays; empty: none does."""


class Note(Struct, array_like=True):
    """A call that is being made, and what its row needs should nobody be left to hear of its end."""

    record: Record
    """As it was when the call began; its attempts are those that failed before."""
    prompt_tokens: int
    """Estimated."""
    images: int = 0
    """That were asked for."""
    windows: list[Window] = []


_decode = msgspec.msgpack.Decoder(Note).decode
Slot = tuple[mmap.mmap, int]
Booking = Callable[[list[Note]], int]
"""Writes the rows of the notes' calls, and tells how many the database can never take."""


class Notes:
    """Those of one event loop. The first file is made with the first call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, tuple[BinaryIO, mmap.mmap]] = {}
        self._free: list[Slot] = []
        self._taken: dict[str, Slot] = {}
        """By the id of the request."""
        self._again = 0.0

    def leave(self, note: Note) -> None:
        """In place of the call's former one. A call without room for its note is made all the same."""
        data = _encode(note)
        size = len(data)
        if size > SLOT - HEAD.size or not (self._free or self._grown()):
            LEFT_OUT.inc()
            return
        table, start = slot = self._free.pop()
        first = start + HEAD.size
        table[first : first + size] = data
        HEAD.pack_into(table, start, size, crc32(data))  # last: until it is whole there is no note
        name = note.record.request_id
        former, self._taken[name] = self._taken.get(name), slot
        if former is not None:
            self._clear(former)

    def clear(self, request_id: str) -> None:
        """The call's row is safe."""
        slot = self._taken.pop(request_id, None)
        if slot is not None:
            self._clear(slot)

    def close(self) -> None:
        """Calls whose rows are not safe are left to whoever books notes."""
        pending = {table for table, _ in self._taken.values()}
        for path, (file, table) in self._files.items():
            if table not in pending:
                with suppress(OSError):
                    path.unlink()
            table.close()
            file.close()
        self._files, self._free, self._taken = {}, [], {}

    def _clear(self, slot: Slot) -> None:
        table, start = slot
        table[start : start + HEAD.size] = EMPTY
        self._free.append(slot)

    def _grown(self) -> bool:
        """Whether there is room again."""
        if monotonic() < self._again:
            return False
        try:
            table = self._new_table()
        except OSError:
            logger.exception("No file for notes of calls; those of a killed process may go without a row")
            self._again = monotonic() + AGAIN
            return False
        self._free = [(table, start) for start in range(SIZE - SLOT, -1, -SLOT)]  # taken from the end: the first first
        return True

    def _new_table(self) -> mmap.mmap:
        file, path = new_file(self._folder, ".notes")
        try:
            file.write(bytes(SIZE))  # a store into a page that finds no room on the disk would kill the process
            file.flush()
            table = mmap.mmap(file.fileno(), SIZE)
        except OSError:
            path.unlink()
            with suppress(OSError):
                file.close()
            raise
        self._files[path] = file, table
        return table


def replay(folder: Path, book: Booking) -> None:
    """Book the calls of the files whose processes are gone, and remove the files."""
    for path in sorted(folder.glob("*.notes")):
        with held(path) as file:
            if file is not None:
                _book_file(path, file, book)


def _book_file(path: Path, file: BinaryIO, book: Booking) -> None:
    notes = list(_read(file.read()))
    refused = book(notes) if notes else 0
    if refused:
        path.rename(path.with_suffix(".rest"))
        logger.error("Of %s, %d of %d calls could not be booked", path.name, refused, len(notes))
    else:
        path.unlink()


def _read(data: bytes) -> Iterator[Note]:
    """The whole ones: a call whose note was half written had not been made."""
    for start in range(0, len(data), SLOT):
        length, checksum = HEAD.unpack_from(data, start)
        note = data[start + HEAD.size : start + HEAD.size + length]
        if length and crc32(note) == checksum:
            with suppress(msgspec.DecodeError):
                yield _decode(note)
