"""The one path that every prompt takes: rights → call → settle. `/v1`, the playground and jobs are its callers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

from access.principal import Principal
from access.roles import Scope
from connections import prices, runtime
from connections.clock import ms_since
from connections.exchange import Exchange
from connections.providers import emulation
from connections.providers.calls import Call, Mode, Reply, Usage
from connections.providers.errors import ProviderError
from connections.transport import Transport
from gateway import bodies, routing
from gateway.accepted import BYTES_PER_TOKEN, Accepted, Answered, Prompt, estimated, longest_answer
from gateway.budgets.gate import BudgetGate
from gateway.envelope import Problem
from gateway.gates import Elsewhere, Gate
from gateway.ledger.notes import Note
from gateway.ledger.record import Record, Tried
from gateway.limits.gate import LimitGate
from gateway.metering import Meter
from gateway.models import Usage as UsageRow
from gateway.routing import Attempt, Course, Standings
from gateway.snapshot import ModelEntry, RouteEntry, Snapshot, TargetEntry, may_ask
from gateway.snapshots import Snapshots
from gateway.streaming import Stream

SHOWN = 10_000
"""Characters of a request that is no JSON."""


class Engine:
    """The path's moving parts on one event loop: what it knows, how it calls, where it writes."""

    transport: Transport

    def __init__(self) -> None:
        self.snapshots = Snapshots()
        self.standings = Standings()
        self.meter = Meter()
        self.gates: list[Gate] = [LimitGate(), BudgetGate(self.meter)]
        self.ending: Problem | None = None
        """Why calls are cut off, once this process ends."""

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
    async def stream(self, prompt: Prompt) -> AsyncIterator[Stream]:
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
        if sent:
            self.meter.check()
        record = Record.of(prompt.principal, prompt.mode, prompt.source, prompt.request_id)
        started = time.perf_counter()
        try:
            accepted = self.plan(prompt, record, started)
            return await self._admit(prompt, accepted) if sent else accepted
        except Exception as error:
            record.cost = 0  # nothing was sent
            await self.settle(record, started, problem=Problem.of(error))
            raise

    async def _admit(self, prompt: Prompt, accepted: Accepted) -> Accepted:
        """Through all gates, here or where one of them sends the call."""
        while True:
            try:
                await self._pass(accepted)
                return accepted
            except Elsewhere as elsewhere:
                accepted = self._switched(prompt, accepted, elsewhere)

    async def _pass(self, accepted: Accepted) -> None:
        """All gates, or none: what one lets through is given back when the next refuses."""
        if accepted.principal.system:
            return
        try:
            for gate in self.gates:
                if admission := await gate.admit(accepted, self.snapshot):
                    accepted.admissions.append(admission)
                    accepted.headers.update(admission.headers)
        except BaseException:
            accepted.record.cost = 0  # nothing was sent
            self._release(accepted)
            raise

    def _switched(self, prompt: Prompt, accepted: Accepted, elsewhere: Elsewhere) -> Accepted:
        """The same call to the model or route that a budget names. Raises its Problem if it cannot go there."""
        instead, record = accepted, accepted.record
        was = record.model, record.route
        if elsewhere.to not in was:
            try:
                instead = self.plan(prompt, record, accepted.started, instead=elsewhere.to)
            except Problem as problem:
                record.model, record.route = was
                raise elsewhere.problem from problem
        instead.switched = accepted.switched | {elsewhere.budget: elsewhere.to}
        return instead

    def _release(self, accepted: Accepted) -> None:
        admissions, accepted.admissions = accepted.admissions, []
        for admission in admissions:
            admission.settle(accepted.record)

    def plan(self, prompt: Prompt, record: Record, started: float, *, instead: str = "") -> Accepted:
        """Read the body, check the rights, choose whom to ask. Nothing is counted, sent or written. Raises Problem.

        `instead`: the model or route to ask, whatever the body says.
        """
        principal = self.snapshot.current(prompt.principal)
        if principal is None:
            raise Problem("invalid_api_key", "The user behind this request is not active any more.")
        if not may_ask(principal):
            raise Problem("scope_denied", "The role of the user behind this request may not ask models.")
        if Scope.GENERATE not in principal.scopes:
            raise Problem("scope_denied", "This API key may not ask models; it lacks the scope generate.")
        body = bodies.read(prompt.body, prompt.mode)
        asked, body.model = body.model, instead or body.model
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
        accepted = Accepted(principal, entry, call, record, course, len(prompt.body), started, asked)
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
        longest = longest_answer(body.parameters, None)
        expected = Usage(-(-len(prompt.body) // BYTES_PER_TOKEN), longest)
        return route, routing.ordered(route, targets, self.standings, expected)

    def _targets(self, principal: Principal, route: RouteEntry, body: bodies.Body, mode: Mode) -> list[TargetEntry]:
        """Those that the principal may use and that take such a request."""
        allowed = route.open_to(principal)
        if not allowed:
            if not any(target.model.granted_to(principal) for target in route.targets):
                raise Problem.no_such_model()
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
            if accepted.course.current is not None:  # the provider bills what it was sent, whoever left
                record.take_usage(estimated(Usage(), accepted.size, 0))
            self.settle(record, accepted.started, accepted, cancelled=True)
            raise
        except Exception as error:
            problem = Problem.of(error)
            await self.settle(record, accepted.started, accepted, problem)
            if isinstance(error, ProviderError):
                raise problem from error
            raise
        record.take_usage(estimated(reply.usage, accepted.size, len(reply.body) // BYTES_PER_TOKEN))
        record.take_answer(reply.finish_reason, reply.model)
        await self.settle(record, accepted.started, accepted)
        return Answered(reply.body, record, record.adjusted, accepted.told)

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
        """For one attempt, of which a note outlives this process."""
        self._leave_note(accepted)
        return Exchange(self.transport, accepted.entry.provider, accepted.entry.options, accepted.timeouts)

    def _leave_note(self, accepted: Accepted) -> None:
        record, attempts = accepted.record, accepted.course.attempts
        if len(attempts) > 1:
            record.attempts = [_tried(attempt, record) for attempt in attempts[:-1]]
        windows = accepted.paid_by.windows(record) if accepted.paid_by else []
        self.meter.notes.leave(Note(record, accepted.prompt_tokens, accepted.images, windows))

    def open(self, accepted: Accepted) -> Stream:
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
        """Price the call and hand its row to the meter. Await the result before an answer is given."""
        if cancelled and problem is None:
            problem = self.ending
        if problem is not None:
            record.fail(problem)
        elif cancelled:
            record.state, record.status, record.error_code = UsageRow.State.CANCELLED, 499, "client_closed"
        if accepted is not None:
            record.adjusted = accepted.adjusted
            self._price(accepted, record)
            self._release(accepted)
        record.total_ms = ms_since(started)
        return self.meter.write(record)

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


engine = runtime.per_loop(Engine)
"""`await engine()`: the running loop's engine, started at the first call and closed with its loop."""
run = runtime.run
"""For sync code (Celery, commands): run a coroutine on the process's background loop."""
