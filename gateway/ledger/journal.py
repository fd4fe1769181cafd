"""Rows that the database could not take: in a file until it can, safe before anybody gets an answer.

A process writes to a file of its own and holds its lock meanwhile. Whoever gets the lock of a file books what is
in it; that a row has been booked before does no harm. So the rows of a process that was killed come into the
ledger through any other one on this machine.
"""

import fcntl
import logging
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
from prometheus_client import Counter

from gateway.ledger.record import Record

HEAD = struct.Struct("<II")
"""Before each row: its length, and its CRC-32."""
BATCH = 500
"""Rows that are booked together."""
JOURNALLED = Counter("mesh_ledger_journalled_rows", "Usage rows written to the journal because the database was away")
REPLAYED = Counter("mesh_ledger_replayed_rows", "Usage rows taken from the journal into the ledger")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode
logger = logging.getLogger(__name__)

Booking = Callable[[list[Record]], list[Record]]
"""Writes rows to the database, and returns those that it can never take."""


class Journal:
    """A process's own file, made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None

    def append(self, records: list[Record]) -> None:
        """Returns when the rows are on the disk. Raises OSError."""
        try:
            self._file = self._file or self._new_file()
            self._file.write(b"".join(map(_framed, records)))
            self._file.flush()
            os.fdatasync(self._file.fileno())
        except OSError:
            self.close()  # a row that was cut off is the end of its file
            raise
        JOURNALLED.inc(len(records))

    def _new_file(self) -> BinaryIO:
        file = new_file(self._folder, ".rows")[0]
        directory = os.open(self._folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        return file

    def close(self) -> None:
        """Leave the file to whoever books what is in it."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()


def new_file(folder: Path, suffix: str) -> tuple[BinaryIO, Path]:
    """It gets the name by which others look for it once it is locked."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{time.time_ns()}-{os.getpid()}.new"
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file, path.rename(path.with_suffix(suffix))


def _framed(record: Record) -> bytes:
    row = _encode(record)
    return HEAD.pack(len(row), zlib.crc32(row)) + row


def replay(folder: Path, book: Booking) -> None:
    """Book what is in the files that nobody writes to, oldest first, and remove them."""
    for path in sorted(folder.glob("*.rows")):
        with held(path) as file:
            if file is not None:
                _book_file(path, file, book)


@contextmanager
def held(path: Path) -> Iterator[BinaryIO | None]:
    """The file, unless it cannot be opened, somebody else has it, or has just removed it."""
    try:
        file = path.open("rb")
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            logger.error("Journal %s cannot be opened: %s", path.name, error)
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file if os.fstat(file.fileno()).st_nlink else None


def _book_file(path: Path, file: BinaryIO, book: Booking) -> None:
    """A file with bytes that are no row, or with rows that the database never takes, is kept under another name."""
    rows, booked, refused = _rows(file), 0, 0
    while batch := list(islice(rows, BATCH)):
        refused += len(book(batch))
        booked += len(batch)
    REPLAYED.inc(booked - refused)
    unread = os.fstat(file.fileno()).st_size - file.tell()
    if unread or refused:
        path.rename(path.with_suffix(".rest"))
        logger.error(
            "Of journal %s, %d rows were booked; %d rows and %d bytes were not", path.name, booked, refused, unread
        )
    else:
        path.unlink()
        logger.warning("%d usage rows came from the journal into the ledger", booked)


def _rows(file: BinaryIO) -> Iterator[Record]:
    """Up to the first byte that is none of a whole row's; there the file stands afterwards."""
    while True:
        start = file.tell()
        length, checksum = HEAD.unpack(file.read(HEAD.size).ljust(HEAD.size, b"\0"))
        row = file.read(length)
        try:
            if not row or len(row) < length or zlib.crc32(row) != checksum:
                raise msgspec.DecodeError
            record = _decode(row)
        except msgspec.DecodeError:
            file.seek(start)
            return
        yield record
