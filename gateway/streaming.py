"""One streamed answer, from the first attempt to its usage row."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from connections.clock import ms_since
from connections.exchange import Streaming
from connections.providers.errors import ProviderError
from gateway.accepted import BYTES_PER_TOKEN, Accepted, estimated
from gateway.envelope import Problem

if TYPE_CHECKING:
    from gateway.pipeline import Engine


class Stream:
    """One streamed answer: an async context that yields OpenAI chunks (JSON, without framing).

    The iteration ends when the upstream ended properly and the usage row is committed. Leaving the context
    earlier closes the upstream and writes the row all the same.
    """

    def __init__(self, engine: "Engine", accepted: Accepted) -> None:
        self._engine = engine
        self._accepted = accepted
        self._source: Streaming | None = None
        self._tokens = 0
        """Of the answer, as we estimate them."""
        self._settled = False
        self.begun = False
        """Whether the caller has got something of it; from then on there are no more attempts."""
        self.record = accepted.record

    @property
    def adjusted(self) -> list[str]:
        return self._accepted.adjusted

    @property
    def headers(self) -> dict[str, str]:
        return self._accepted.told

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except (ProviderError, Problem) as error:
            raise await self._fail(error) from error
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def _open(self) -> None:
        """Attempt after attempt, until a stream is there or none is left."""
        while True:
            self._accepted.begin()
            self._source = self._engine.exchange(self._accepted).stream(self._accepted.call)
            try:
                await self._source.__aenter__()
                return
            except ProviderError as error:
                if not await self._accepted.goes_on(error):
                    raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._settled:
            self._leave(Problem.of(error) if isinstance(error, Exception) else None)
        await self._close()

    async def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            await source.__aexit__()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunks := await self.batch():
            for chunk in chunks:
                yield chunk

    async def batch(self) -> list[bytes]:
        """The next chunks, as many as arrived together, to be passed on in one write; none at the end."""
        try:
            chunks = await self._next()
        except (ProviderError, Problem) as error:
            raise await self._fail(error) from error
        if chunks:
            self._count(chunks)
        else:
            self._settled = True
            self._take_usage()
            await self._engine.settle(self.record, self._accepted.started, self._accepted)
        return chunks

    async def _next(self) -> list[bytes]:
        """Of the first attempt that gives any."""
        while True:
            assert self._source is not None  # noqa: S101 - the context was entered
            try:
                return await self._source.batch()
            except ProviderError as error:
                if self.begun or not await self._accepted.goes_on(error):
                    raise
            await self._close()
            await self._open()

    def _count(self, chunks: list[bytes]) -> None:
        if self.record.first_token_ms is None:
            self.record.first_token_ms = ms_since(self._accepted.started)
            self.begun = True
            self._accepted.course.speaks()
        whole = self._source is not None and self._source.whole
        self._tokens += sum(map(len, chunks)) // BYTES_PER_TOKEN if whole else len(chunks)

    def _take_usage(self) -> None:
        if self._source is None:
            return
        self.record.take_answer(self._source.finish_reason, self._source.model)
        self.record.take_usage(estimated(self._source.usage, self._accepted.size, self._tokens))

    async def _fail(self, error: ProviderError | Problem) -> Problem:
        """Write the failure down. Tokens that were streamed before it were billed, so they are counted."""
        self._settled = True
        if isinstance(error, ProviderError):
            if error.usage is None and self._tokens:
                self._take_usage()
            self._accepted.course.fail(error, error.usage or (self.record.usage if self._tokens else None))
        problem = Problem.of(error)
        written = self._engine.settle(self.record, self._accepted.started, self._accepted, problem)
        await self._close()
        await written
        return problem

    def _leave(self, fault: Problem | None) -> None:
        """The caller left, or something broke inside: the row is written while this task is being ended."""
        self._settled = True
        if self._tokens or (fault is None and self._accepted.course.current is not None):
            self._take_usage()  # the provider bills what it was sent, whoever left
        self._engine.settle(self.record, self._accepted.started, self._accepted, fault, cancelled=True)
