"""One call to a provider, whole or as a stream: the path that real calls, checks and the "Test" button share.

The provider translates, the transport talks; what lies between stands here: proofs that run out, dialects of
several requests, and what a model lacks and we supply (`providers.emulation`). Every failure leaves as a
ProviderError whose texts hold no secret.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

from msgspec import Struct, structs

from connections import remote_images
from connections.interrupting import Deadline
from connections.providers import emulation
from connections.providers.calls import (
    Adjustment,
    Answer,
    Call,
    Frame,
    Framing,
    InThread,
    Mode,
    Outgoing,
    Pause,
    Reply,
    Steps,
    Usage,
)
from connections.providers.contract import Auth, EventReader, Provider
from connections.providers.errors import BadReply, ContentFiltered, ProviderError, Temporary, TimedOut
from connections.scrubbing import clean
from connections.transport import Frames, Incoming, NetworkOptions, Timeouts, Transport

T = TypeVar("T")

AT_ONCE = 4
"""Requests of one call that run side by side."""
WORTH_GOING_ON = (Temporary, ContentFiltered, BadReply)
"""After one of these another part of the same call may still succeed."""
LEAVING = Timeouts(connect=5, first_byte=5, between=5, total=5)

_locks: WeakKeyDictionary[Auth, dict[asyncio.AbstractEventLoop, asyncio.Lock]] = WeakKeyDictionary()
_farewells: set[asyncio.Task[Any]] = set()


class Exchange(Struct, frozen=True):
    """How calls reach one connection's provider."""

    transport: Transport
    provider: Provider
    options: NetworkOptions
    timeouts: Timeouts

    async def ask(self, call: Call) -> Reply:
        """One whole answer."""
        try:
            if call.mode is call.target.mode:
                return await self._ask_own(call)
            reply = await self._ask_own(structs.replace(call, stream=False))
            return emulation.reply_in(call.mode, reply)
        except ProviderError as error:
            clean(error, self.provider)
            raise

    def stream(self, call: Call) -> "Streaming":
        """A streamed answer, as an async context."""
        return Streaming(self, call)

    async def check(self) -> Answer:
        """The answer to the provider's free check."""
        try:
            return await self.send(self.provider.check())
        except ProviderError as error:
            clean(error, self.provider)
            raise

    async def _ask_own(self, call: Call) -> Reply:
        """Ask in the model's own mode, in as many requests as it takes."""
        if remote_images.to_inline(self.provider, call):
            call = await remote_images.inlined(call)
        requests = emulation.requests(self.provider, call)
        asking = self._ask_once(requests[0]) if len(requests) == 1 else self._ask_all(call, requests)
        reply = await asking
        return await remote_images.unpacked(call, reply) if call.mode is Mode.IMAGE else reply

    async def _ask_all(self, call: Call, requests: Sequence[Call]) -> Reply:
        """Embeddings need every part; of answers and pictures, those that came are worth having."""
        turns, fewer = asyncio.Semaphore(AT_ONCE), emulation.may_be_fewer(call)
        failures: list[ProviderError] = []

        async def ask(part: Call) -> Reply | None:
            async with turns:
                if failures and not (fewer and isinstance(failures[-1], WORTH_GOING_ON)):
                    return None
                try:
                    return await self._ask_once(part)
                except ProviderError as error:
                    failures.append(error)
                    return None

        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(ask(part)) for part in requests]
        replies = [reply for task in asking if (reply := task.result())]
        if failures and not (fewer and replies):
            raise _with_all_usage(failures, replies)
        return emulation.merged(requests[0], replies, failures)

    async def _ask_once(self, call: Call) -> Reply:
        provider = self.provider
        if not provider.takes_one_step or provider.auth.renewal() is not None:
            return await self._in_time(call, self.run(provider.steps(call)))
        outgoing = provider.request(call)
        answer = await self._sent(provider.auth.sign(outgoing))  # the transport alone keeps the time
        if self._refuses_proof(answer):
            answer = await self._in_time(call, self._send_signed(outgoing))
        return provider.read(call, answer)

    async def _in_time(self, call: Call, work: Coroutine[Any, Any, T]) -> T:
        """Await what may take several requests."""
        try:
            with Deadline(self.timeouts.total):
                return await work
        except TimeoutError as error:
            self.leave(call)
            raise TimedOut(f"The provider's answer took longer than {self.timeouts.total:g} s.") from error
        except (TimedOut, asyncio.CancelledError):
            self.leave(call)
            raise

    async def run(self, steps: Steps[T]) -> T:
        """Take a dialect's steps, one after the other."""
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            result = await (self.send(step) if isinstance(step, Outgoing) else _taken(step))

    async def send(self, outgoing: Outgoing) -> Answer:
        """One request with its proof; once more with a new one where the old was refused."""
        answer = await self._send_signed(outgoing)
        return await self._send_signed(outgoing) if self._refuses_proof(answer) else answer

    def _refuses_proof(self, answer: Answer) -> bool:
        return answer.status in {400, 401, 403} and self.provider.auth.refused(answer)

    async def _send_signed(self, outgoing: Outgoing) -> Answer:
        return await self._sent(await self.signed(outgoing))

    def _sent(self, signed: Outgoing) -> Awaitable[Answer]:
        return self.transport.send(signed, options=self.options, timeouts=self.timeouts)

    async def signed(self, outgoing: Outgoing) -> Outgoing:
        auth = self.provider.auth
        if auth.renewal() is not None:
            await self._renew(auth)
        return auth.sign(outgoing)

    async def _renew(self, auth: Auth) -> None:
        """One renewal at a time: whoever waited finds the new proof there."""
        lock = _locks.setdefault(auth, {}).setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            if steps := auth.renewal():
                await self._take_plainly(steps)

    async def _take_plainly(self, steps: Steps[None]) -> None:
        """The steps of a renewal: their requests carry their own proof."""
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration:
                return
            if isinstance(step, Outgoing):
                result = await self._sent(step)
            else:
                result = await _taken(step)

    def leave(self, call: Call) -> None:
        """Tell a provider that works on that nobody waits any more; nobody waits for that either."""
        if call.on_leave is None:
            return
        farewell = Exchange(self.transport, self.provider, self.options, LEAVING).send(call.on_leave)
        task = asyncio.get_running_loop().create_task(_quietly(farewell))
        _farewells.add(task)
        task.add_done_callback(_farewells.discard)


async def _taken(step: Pause | InThread) -> Any:
    """A step that asks nobody."""
    if isinstance(step, InThread):
        return await asyncio.to_thread(step.work)
    await asyncio.sleep(step.seconds)
    return None


async def _quietly(work: Any) -> None:
    with suppress(ProviderError):  # it stops by itself in the end
        await work


def _with_all_usage(failures: Sequence[ProviderError], replies: Sequence[Reply]) -> ProviderError:
    """The first failure; what the other parts cost is not forgotten."""
    spent = [reply.usage for reply in replies] + [error.usage for error in failures if error.usage]
    failures[0].usage = emulation.used(spent) if spent else None
    return failures[0]


class Streaming:
    """One stream: an async context that gives OpenAI chunks (JSON, without framing), in the groups they came in.

    Afterwards `usage`, `finish_reason` and `model` say what it told.
    """

    def __init__(self, exchange: Exchange, call: Call) -> None:
        self._exchange = exchange
        self._asked = call
        self._call = call
        self._stack = AsyncExitStack()
        self._frames: Frames | None = None
        self._failure: ProviderError | None = None
        """Of the frames whose first chunks were given out."""
        self._reader: EventReader | None = None
        self._whole: Call | None = None
        """What is asked in place of a stream that the model cannot give."""
        self._reply: Reply | None = None
        self._ended = False
        """Its last chunks were given out."""
        self._over = False
        """And asked whether there are more: nobody leaves it."""

    @property
    def usage(self) -> Usage:
        return self._told.usage if self._told else Usage()

    @property
    def finish_reason(self) -> str:
        return self._told.finish_reason if self._told else ""

    @property
    def model(self) -> str:
        return self._told.model if self._told else ""

    @property
    def whole(self) -> bool:
        """Whether an answer that came whole is given as a stream."""
        return self._reply is not None

    @property
    def _told(self) -> EventReader | Reply | None:
        return self._reply or self._reader

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException as error:
            if isinstance(error, ProviderError):
                clean(error, self._exchange.provider)
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._over:
            self._over = True
            self._exchange.leave(self._call)
        await self._stack.aclose()

    async def _open(self) -> None:
        exchange, provider = self._exchange, self._exchange.provider
        call = self._asked
        if remote_images.to_inline(provider, call):
            call = await remote_images.inlined(call)
        if not provider.abilities(call.target).streams or emulation.splits(provider, call):
            call.adjusted.append(Adjustment("stream", "answered whole"))
            self._whole = structs.replace(call, stream=False)
            # `batch` asks it: meanwhile the caller gets heartbeats
            return
        self._call = emulation.requests(provider, structs.replace(call, stream=True))[0]
        opening = await exchange.run(provider.opening(self._call))
        if isinstance(opening, Reply):
            self._reply = self._as_asked(opening)
            return
        self._reader = provider.events(self._call)
        incoming = await self._begun(opening)
        self._frames = incoming.frames(provider.framing_of(self._call))

    async def _begun(self, outgoing: Outgoing) -> Incoming:
        """The beginning of the stream; once more with a new proof where the old was refused."""
        provider = self._exchange.provider
        incoming = await self._answer_to(outgoing)
        if incoming.status in {400, 401, 403}:
            answer = await _whole(incoming)
            if not provider.auth.refused(answer):
                raise provider.problem(answer)
            incoming = await self._answer_to(outgoing)
        kind = incoming.headers.get("content-type", "").partition(";")[0].strip().lower()
        if incoming.status >= 300:
            raise provider.problem(await _whole(incoming))
        framed = provider.framing_of(self._call) is not Framing.SSE and kind == "application/json"
        if kind in {"application/json", "text/html"} and not framed:
            provider.reply(structs.replace(self._call, stream=False), await _whole(incoming))
            raise BadReply("The provider answered a streaming request without a stream.")
        return incoming

    async def _answer_to(self, outgoing: Outgoing) -> Incoming:
        signed = await self._exchange.signed(outgoing)
        exchange = self._exchange
        opening = exchange.transport.stream(signed, options=exchange.options, timeouts=exchange.timeouts)
        return await self._stack.enter_async_context(opening)

    def _as_asked(self, reply: Reply) -> Reply:
        return reply if self._call.mode is self._asked.mode else emulation.reply_in(self._asked.mode, reply)

    async def batch(self) -> list[bytes]:
        """The chunks that the next read brings; none at the end. Raises ProviderError after the chunks before it."""
        try:
            chunks = await self._next()
        except ProviderError as error:
            clean(error, self._exchange.provider)
            raise
        if not chunks:
            self._over = True
        return chunks

    async def _next(self) -> list[bytes]:
        if self._failure is not None:
            raise self._failure
        if self._frames is None:
            return await self._next_of_whole()
        async for frames in self._frames:
            chunks, self._failure = self._translated(frames)
            if chunks:
                return chunks
            if self._failure is not None:
                raise self._failure
        return self._last()

    async def _next_of_whole(self) -> list[bytes]:
        if self._ended:
            return []
        self._ended = True
        if self._whole is not None:
            self._reply = await self._exchange.ask(self._whole)
        assert self._reply is not None  # noqa: S101 - the context was entered
        return list(emulation.chunks_of(self._asked, self._reply))

    def _last(self) -> list[bytes]:
        """What the reader says when the frames are over."""
        if self._ended or self._reader is None:
            return []
        self._ended = True
        return self._in_asked_mode(self._reader.end())

    def _translated(self, frames: list[Frame]) -> tuple[list[bytes], ProviderError | None]:
        """The chunks of these frames, and what went wrong after them: whatever came before is the caller's."""
        chunks: list[bytes] = []
        read = self._reader.feed  # type: ignore[union-attr]
        try:
            for frame in frames:
                chunks.extend(read(frame))
        except ProviderError as error:
            return self._in_asked_mode(chunks), error
        return self._in_asked_mode(chunks), None

    def _in_asked_mode(self, chunks: Iterable[bytes]) -> list[bytes]:
        if self._call.mode is self._asked.mode:
            return chunks if isinstance(chunks, list) else list(chunks)
        return [emulation.chunk_in(self._asked.mode, chunk) for chunk in chunks]


async def _whole(incoming: Incoming) -> Answer:
    return Answer(incoming.status, incoming.headers, await incoming.read())
