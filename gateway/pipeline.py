"""The one path that every prompt takes: rights → call → settle. `/v1`, the playground and jobs are its callers."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from access.principal import Principal
from access.roles import Scope
from connections import prices, runtime
from connections.clock import ms_since
from connections.exchange import Exchange, Streaming
from connections.providers import emulation
from connections.providers.calls import Call, Mode, Reply, Usage
from connections.providers.errors import ProviderError
from connections.transport import Timeouts, Transport
from gateway import bodies, routing
from gateway.envelope import Problem, new_request_id
from gateway.gates import Admission, Gate
from gateway.limits.gate import LimitGate
from gateway.metering import Meter, Record, Tried
from gateway.models import Usage as UsageRow
from gateway.routing import Attempt, Course, Standings
from gateway.snapshot import ModelEntry, RouteEntry, Snapshot, Snapshots, TargetEntry, may_ask

TIMEOUTS = Timeouts()
USUAL_ANSWER = 1024
"""Tokens expected of an answer whose length nobody limits."""
BYTES_PER_TOKEN = 4
"""For estimates, where a provider tells no usage."""
SHOWN = 10_000
"""Characters of a request that is no JSON."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked, by whom, from where."""

    principal: Principal
    mode: Mode
    body: bytes
    """JSON in OpenAI's shape, `model` being a public id."""
    source: str
    """v1, playground, generation or health; stands in the usage row."""
    request_id: str = field(default_factory=new_request_id)


@dataclass(slots=True)
class Accepted:
    """A prompt that is well formed and allowed, on its way to one model."""

    principal: Principal
    entry: ModelEntry
    call: Call
    record: Record
    course: Course
    size: int
    """Bytes of the prompt's body."""
    started: float
    admissions: list[Admission] = field(default_factory=list)
    """Of the gates that let it through."""
    headers: dict[str, str] = field(default_factory=dict)
    """What the gates tell whoever asked."""

    @property
    def expected_tokens(self) -> int:
        """The most that the call will use: its prompt by size, and its answer as long as it may get."""
        spoken = self.call.mode in {Mode.CHAT, Mode.COMPLETION}
        return self.prompt_tokens + (_length(self.call.body, self.entry) if spoken else 0)

    @property
    def prompt_tokens(self) -> int:
        """Estimated by the prompt's size."""
        return -(-self.size // BYTES_PER_TOKEN)

    @property
    def adjusted(self) -> list[str]:
        return [str(adjustment) for adjustment in self.call.adjusted]

    def begin(self) -> None:
        """The next attempt. Raises Problem, or the last attempt's error, when nothing may be asked."""
        attempt = self.course.begin()
        if attempt.number > 1 or attempt.entry is not self.entry:
            self._aim(attempt.entry)

    def _aim(self, entry: ModelEntry) -> None:
        """The call as this model is to be asked, and as nobody has adjusted it."""
        self.entry = entry
        self.call = replace(self.call, target=entry.target, forwarded=entry.forwarded, adjusted=[], on_leave=None)
        self.note()

    def note(self) -> None:
        """Who is asked."""
        record, entry = self.record, self.entry
        record.model, record.model_id = entry.public_id, entry.id
        record.connection_id, record.connection = entry.connection_id, entry.connection

    async def goes_on(self, error: ProviderError) -> bool:
        """Wait for the next attempt, if there is to be one after this failure."""
        self.course.fail(error, error.usage)
        wait = self.course.pause(error, self.left)
        if wait:
            await asyncio.sleep(wait)
        return wait is not None

    @property
    def left(self) -> float:
        """Seconds until the call as a whole has taken too long."""
        return TIMEOUTS.total - (time.perf_counter() - self.started)

    @property
    def told(self) -> dict[str, str]:
        """Who answered, or failed last, for the answer's headers."""
        served = {"x-mesh-connection": self.record.connection, "x-mesh-model": self.record.model}
        return {**self.headers, **served, "x-mesh-attempts": str(len(self.course.attempts))}


@dataclass(frozen=True, slots=True)
class Answered:
    body: bytes
    record: Record
    adjusted: list[str]
    headers: Mapping[str, str] = field(default_factory=dict)


class Engine:
    """The path's moving parts on one event loop: what it knows, how it calls, where it writes."""

    transport: Transport

    def __init__(self) -> None:
        self.snapshots = Snapshots()
        self.standings = Standings()
        self.meter = Meter()
        self.gates: list[Gate] = [LimitGate()]

    @property
    def snapshot(self) -> Snapshot:
        return self.snapshots.current

    async def __aenter__(self) -> Self:
        self.transport = await runtime.transport()
        await asyncio.to_thread(prices.load)  # the table takes a moment, which no call shall wait for
        await self.snapshots.start()
        await self.meter.start()
        for gate in self.gates:
            await gate.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.meter.close()
        for gate in self.gates:
            await gate.close()
        await self.snapshots.close()

    async def ask(self, prompt: Prompt) -> Answered:
        """One whole answer. Raises Problem."""
        return await self.answer(await self.accept(prompt))

    @asynccontextmanager
    async def stream(self, prompt: Prompt) -> AsyncIterator["Stream"]:
        """A stream that has begun. Raises Problem, on entering and while iterating."""
        async with self.open(await self.accept(prompt)) as stream:
            yield stream

    async def effective(self, prompt: Prompt) -> dict[str, Any]:
        """What would be sent to the provider first, without credentials and without sending it.

        `prompt`: the text that the messages amount to, for a model that takes no others.
        """
        return self.request_of(await self.accept(prompt, sent=False))

    def request_of(self, accepted: Accepted) -> dict[str, Any]:
        """The first request to the provider, as it may be shown. Raises Problem."""
        try:
            provider = accepted.entry.provider
            first = emulation.requests(provider, accepted.call)[0]
            outgoing = provider.request(first)
        except ProviderError as error:
            raise Problem.of(error) from error
        shown = {"method": outgoing.method, "path": urlsplit(outgoing.url).path, "body": _legible(outgoing.body)}
        if accepted.call.mode is Mode.CHAT and first.mode is Mode.COMPLETION:
            shown["prompt"] = first.body["prompt"]
        return {**shown, "adjusted": accepted.adjusted}

    async def accept(self, prompt: Prompt, *, sent: bool = True) -> Accepted:
        """Read the body, check the rights, and pass the gates if it will be sent. A refusal is written down too."""
        record = Record.of(prompt.principal, prompt.mode, prompt.source, prompt.request_id)
        started = time.perf_counter()
        accepted: Accepted | None = None
        try:
            accepted = self.plan(prompt, record, started)
            if sent:
                await self._admit(accepted)
            return accepted
        except Exception as error:
            record.cost = 0  # nothing was sent
            if accepted is not None:
                self._release(accepted)
            await self.settle(record, started, problem=_as_problem(error))
            raise

    async def _admit(self, accepted: Accepted) -> None:
        """Through all gates, or none: what one lets through is given back when the next refuses."""
        if accepted.principal.system:
            return
        for gate in self.gates:
            if admission := await gate.admit(accepted, self.snapshot):
                accepted.admissions.append(admission)
                accepted.headers.update(admission.headers)

    def _release(self, accepted: Accepted) -> None:
        admissions, accepted.admissions = accepted.admissions, []
        for admission in admissions:
            admission.settle(accepted.record)

    def plan(self, prompt: Prompt, record: Record, started: float) -> Accepted:
        """Read the body, check the rights, choose whom to ask. Nothing is counted, sent or written. Raises Problem."""
        principal = self.snapshot.current(prompt.principal)
        if principal is None:
            raise Problem("invalid_api_key", "The user behind this request is not active any more.")
        if not may_ask(principal):
            raise Problem("scope_denied", "The role of the user behind this request may not ask models.")
        if Scope.GENERATE not in principal.scopes:
            raise Problem("scope_denied", "This API key may not ask models; it lacks the scope generate.")
        body = bodies.read(prompt.body, prompt.mode)
        record.model, record.stream = body.model, body.stream
        route, entries = self._candidates(principal, body, prompt)
        entry = entries[0]
        record.route = route.name if route else ""
        call = Call(
            mode=prompt.mode,
            target=entry.target,
            body={**body.fields, **body.parameters},
            stream=body.stream,
            wants_usage=body.wants_usage,
            forwarded=entry.forwarded,
            request_id=prompt.request_id,
        )
        course = Course(self.standings, entries, route)
        accepted = Accepted(principal, entry, call, record, course, len(prompt.body), started)
        accepted.note()
        return accepted

    def _candidates(
        self, principal: Principal, body: bodies.Body, prompt: Prompt
    ) -> tuple[RouteEntry | None, list[ModelEntry]]:
        """The model asked for, or those of the route asked for, in order."""
        route = self.snapshot.routes.get(body.model)
        if route is None:
            entry = self._model(principal, body.model, prompt.mode)
            bodies.refuse_unknown(body.fields, prompt.mode, entry.forwarded)
            return None, [entry]
        targets = self._targets(principal, route, body, prompt.mode)
        expected = Usage(-(-len(prompt.body) // BYTES_PER_TOKEN), _length({**body.fields, **body.parameters}, None))
        return route, routing.ordered(route, targets, self.standings, expected)

    def _targets(self, principal: Principal, route: RouteEntry, body: bodies.Body, mode: Mode) -> list[TargetEntry]:
        """Those that the principal may use and that take such a request."""
        if not any(target.model.granted_to(principal) for target in route.targets):
            raise Problem.no_such_model()
        allowed = route.open_to(principal)
        if not allowed:
            raise Problem("model_not_allowed", "This API key is limited to other models.", param="model")
        fitting = [target for target in allowed if emulation.answers(mode, target.model.mode)]
        if not fitting:
            raise Problem("invalid_value", f"No model of this route is for {mode}.", param="model")
        taking, refusal = [], None
        for target in fitting:
            try:
                bodies.refuse_unknown(body.fields, mode, target.model.forwarded)
                taking.append(target)
            except Problem as problem:
                refusal = refusal or problem
        if not taking and refusal:
            raise refusal
        return taking

    def _model(self, principal: Principal, public_id: str, mode: Mode) -> ModelEntry:
        """The model asked for, if this principal may use it; one it may not see is as good as absent."""
        entry = self.snapshot.models.get(public_id)
        if entry is None or not entry.granted_to(principal):
            raise Problem.no_such_model()
        if principal.allowed_models is not None and public_id not in principal.allowed_models:
            raise Problem("model_not_allowed", "This API key is limited to other models.", param="model")
        if not emulation.answers(mode, entry.mode):
            raise Problem("invalid_value", f"This model is for {entry.mode}, not for {mode}.", param="model")
        return entry

    async def answer(self, accepted: Accepted) -> Answered:
        """Ask and settle. Raises Problem; when the caller is cancelled, the call is still written down."""
        record = accepted.record
        try:
            reply = await self._asked(accepted)
        except asyncio.CancelledError:
            self.settle(record, accepted.started, accepted, cancelled=True)
            raise
        except Exception as error:
            problem = _as_problem(error)
            await self.settle(record, accepted.started, accepted, problem)
            if isinstance(error, ProviderError):
                raise problem from error
            raise
        record.take_usage(_estimated(reply.usage, accepted.size, len(reply.body) // BYTES_PER_TOKEN))
        record.finish_reason, record.upstream_model = reply.finish_reason, reply.model[:300]
        await self.settle(record, accepted.started, accepted)
        return Answered(reply.body, record, accepted.adjusted, accepted.told)

    async def _asked(self, accepted: Accepted) -> Reply:
        """Attempt after attempt, until one is answered or none is left."""
        while True:
            accepted.begin()
            try:
                return await self.exchange(accepted).ask(accepted.call)
            except ProviderError as error:
                if not await accepted.goes_on(error):
                    raise

    def exchange(self, accepted: Accepted) -> Exchange:
        """For one attempt: a later one has what the earlier ones left of the time."""
        again = len(accepted.course.attempts) > 1
        timeouts = TIMEOUTS._replace(total=accepted.left) if again else TIMEOUTS
        return Exchange(self.transport, accepted.entry.provider, accepted.entry.options, timeouts)

    def open(self, accepted: Accepted) -> "Stream":
        return Stream(self, accepted)

    def settle(
        self,
        record: Record,
        started: float,
        accepted: Accepted | None = None,
        problem: Problem | None = None,
        *,
        cancelled: bool = False,
    ) -> Awaitable[None]:
        """Price the call and hand its row to the meter. Await the result before an answer is given.

        The row is written all the same when nobody awaits it, or whoever does is cancelled.
        """
        if problem is not None:
            record.fail(problem)
        elif cancelled:
            record.state, record.status, record.error_code = UsageRow.State.CANCELLED, 499, "client_closed"
        if accepted is not None:
            record.adjusted = accepted.adjusted
            self._price(accepted, record)
            self._release(accepted)
        record.total_ms = ms_since(started)
        return asyncio.shield(self.meter.write(record))

    def _price(self, accepted: Accepted, record: Record) -> None:
        entry, course = accepted.entry, accepted.course
        failed = record.state == UsageRow.State.ERROR
        if not course.attempts:
            record.cost = 0  # nothing was sent
            return
        last = course.attempts[-1]
        if last.usage is not None:
            record.take_usage(last.usage)
        record.price(entry.provider, entry.target, entry.prices)
        course.end(True if record.state == UsageRow.State.OK else None)
        if failed or len(course.attempts) > 1:
            record.add_attempts([_tried(attempt, record) for attempt in course.attempts])


class Stream:
    """One streamed answer: an async context that yields OpenAI chunks (JSON, without framing).

    The iteration ends when the upstream ended properly and the usage row is committed. Leaving the context
    earlier closes the upstream and writes the row all the same.
    """

    def __init__(self, engine: Engine, accepted: Accepted) -> None:
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
            self._leave(_as_problem(error) if isinstance(error, Exception) else None)
        await self._close()

    async def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            await source.__aexit__()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for batch in self.batches():
            for chunk in batch:
                yield chunk

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """The chunks in the groups in which they arrived, to be passed on in one write each."""
        try:
            async for chunks in self._attempts():
                self._count(chunks)
                yield chunks
        except (ProviderError, Problem) as error:
            raise await self._fail(error) from error
        self._settled = True
        self._take_usage()
        await self._engine.settle(self.record, self._accepted.started, self._accepted)

    async def _attempts(self) -> AsyncIterator[list[bytes]]:
        """The chunks of the first stream that gives any."""
        while True:
            assert self._source is not None  # noqa: S101 - the context was entered
            try:
                async for chunks in self._source.batches():
                    yield chunks
                return
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
        self.record.finish_reason = self._source.finish_reason
        self.record.upstream_model = self._source.model[:300]
        self.record.take_usage(_estimated(self._source.usage, self._accepted.size, self._tokens))

    async def _fail(self, error: ProviderError | Problem) -> Problem:
        """Write the failure down. Tokens that were streamed before it were billed, so they are counted."""
        self._settled = True
        if isinstance(error, ProviderError):
            if error.usage is None and self._tokens:
                self._take_usage()
            self._accepted.course.fail(error, error.usage or (self.record.usage if self._tokens else None))
        problem = _as_problem(error)
        written = self._engine.settle(self.record, self._accepted.started, self._accepted, problem)
        await self._close()
        await written
        return problem

    def _leave(self, fault: Problem | None) -> None:
        """The caller left, or something broke inside: the row is written while this task is being ended."""
        self._settled = True
        if self._tokens:
            self._take_usage()
        self._engine.settle(self.record, self._accepted.started, self._accepted, fault, cancelled=True)


def _length(body: Mapping[str, Any], entry: ModelEntry | None) -> int:
    """The most tokens that the answers to this request will have."""
    longest = entry.target.max_output if entry else None
    length = body.get("max_completion_tokens") or body.get("max_tokens") or longest or USUAL_ANSWER
    return int(length) * int(body.get("n") or 1)


def _legible(body: bytes) -> Any:
    """A request's body for showing: not all are JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")[:SHOWN]


def _tried(attempt: Attempt, record: Record) -> Tried:
    """The row of an attempt. One without an error of its own ended as the call did."""
    entry, error = attempt.entry, attempt.error
    usage = attempt.usage if error is not None else record.usage
    cost = record.cost_of(usage or Usage(), entry.provider, entry.target, entry.prices)
    return Tried(
        number=attempt.number,
        connection_id=entry.connection_id,
        connection=entry.connection,
        model_id=entry.id,
        model=entry.public_id,
        state=UsageRow.State.ERROR if error is not None else record.state,
        error_code=Problem.of(error).code if error is not None else record.error_code,
        upstream_status=error.status if error is not None else None,
        usage=usage,
        cost=cost.nano,
        total_ms=attempt.ms,
    )


def _as_problem(error: Exception) -> Problem:
    if isinstance(error, ProviderError):
        return Problem.of(error)
    return error if isinstance(error, Problem) else _fault()


def _fault() -> Problem:
    return Problem("internal_error", "Something went wrong inside.")


def _estimated(usage: Usage, size: int, completion: int) -> Usage:
    """Fill in what the provider did not tell, marked as estimated: bytes for the prompt, chunks for the answer."""
    if usage.prompt_tokens is not None and usage.completion_tokens is not None:
        return usage
    return replace(
        usage,
        prompt_tokens=usage.prompt_tokens if usage.prompt_tokens is not None else -(-size // BYTES_PER_TOKEN),
        completion_tokens=usage.completion_tokens if usage.completion_tokens is not None else completion,
        estimated=True,
    )


engine = runtime.per_loop(Engine)
"""`await engine()`: the running loop's engine, started at the first call and closed with its loop."""
run = runtime.run
"""For sync code (Celery, commands): run a coroutine on the process's background loop."""
