"""A prompt, and what becomes of it on its way: accepted, attempted, answered."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field, structs

from access.principal import Principal
from connections.providers.calls import Call, Mode, Usage
from connections.providers.errors import ProviderError
from connections.transport import Timeouts
from gateway.envelope import new_request_id
from gateway.gates import Admission
from gateway.ledger.record import Record
from gateway.routing import Course
from gateway.snapshot import ModelEntry

if TYPE_CHECKING:
    from gateway.budgets.gate import Admitted

TIMEOUTS = Timeouts()
USUAL_ANSWER = 1024
"""Tokens expected of an answer whose length nobody limits."""
BYTES_PER_TOKEN = 4
"""For estimates, where a provider tells no usage."""


class Prompt(Struct, frozen=True):
    """What is asked, by whom, from where."""

    principal: Principal
    mode: Mode
    body: bytes
    """JSON in OpenAI's shape, `model` being a public id."""
    source: str
    """v1, playground, generation or health; stands in the usage row."""
    request_id: str = field(default_factory=new_request_id)


class Accepted(Struct):
    """A prompt that is well formed and allowed, on its way to one model."""

    principal: Principal
    entry: ModelEntry
    call: Call
    record: Record
    course: Course
    size: int
    """Bytes of the prompt's body."""
    started: float
    asked: str
    """The model or route that the body names."""
    admissions: list[Admission] = []
    """Of the gates that let it through."""
    paid_by: "Admitted | None" = None
    """What the budgets set aside for it."""
    headers: dict[str, str] = {}
    """What the gates tell whoever asked."""
    switched: dict[int, str] = {}
    """Budgets that sent it elsewhere, because they are used up, and where to."""

    @property
    def expected_tokens(self) -> int:
        """The most that the call will use: its prompt by size, and its answer as long as it may get."""
        usage = self.expected(self.entry)
        return (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)

    def expected(self, entry: ModelEntry) -> Usage:
        """The most that this model will use for it."""
        body, mode = self.call.body, self.call.mode
        spoken = mode in {Mode.CHAT, Mode.COMPLETION}
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=longest_answer(body, entry) if spoken else 0,
            images=self.images,
            search_units=1 if mode is Mode.RERANK else 0,
        )

    @property
    def prompt_tokens(self) -> int:
        """Estimated by the prompt's size."""
        return -(-self.size // BYTES_PER_TOKEN)

    @property
    def images(self) -> int:
        """That are asked for."""
        return int(self.call.body.get("n") or 1) if self.call.mode is Mode.IMAGE else 0

    @property
    def adjusted(self) -> list[str]:
        """What the request was changed in, and where it was sent instead."""
        if not self.switched:
            return [str(adjustment) for adjustment in self.call.adjusted]
        elsewhere = [f"model {self.asked} replaced by {to}: its budget is used up" for to in self.switched.values()]
        return [*elsewhere, *map(str, self.call.adjusted)]

    def begin(self) -> None:
        """The next attempt. Raises Problem, or the last attempt's error, when nothing may be asked."""
        attempt = self.course.begin()
        if attempt.number > 1 or attempt.entry is not self.entry:
            self._aim(attempt.entry)

    def _aim(self, entry: ModelEntry) -> None:
        """The call as this model is to be asked, and as nobody has adjusted it."""
        self.entry = entry
        self.call = structs.replace(
            self.call, target=entry.target, forwarded=entry.forwarded, adjusted=[], on_leave=None
        )
        self.note()

    def keep_to(self, candidates: Sequence[ModelEntry]) -> None:
        """Ask only these of its candidates."""
        self.course.keep_to(candidates)
        if candidates[0] is not self.entry:
            self._aim(candidates[0])

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
    def timeouts(self) -> Timeouts:
        """Of the attempt that runs: a later one has what the earlier ones left of the time."""
        again = len(self.course.attempts) > 1
        return TIMEOUTS._replace(total=self.left) if again else TIMEOUTS

    @property
    def told(self) -> dict[str, str]:
        """Who answered, or failed last, for the answer's headers."""
        served = {"x-mesh-connection": self.record.connection, "x-mesh-model": self.record.model}
        elsewhere = {"x-mesh-switched-from": self.asked} if self.switched else {}
        attempts = str(len(self.course.attempts))
        return {**self.headers, **served, **elsewhere, "x-mesh-attempts": attempts, "x-mesh-cache": "none"}


class Answered(Struct, frozen=True):
    body: bytes
    record: Record
    adjusted: list[str]
    headers: Mapping[str, str] = {}


def longest_answer(body: Mapping[str, Any], entry: ModelEntry | None) -> int:
    """The most tokens that the answers to this request will have."""
    longest = entry.target.max_output if entry else None
    length = body.get("max_completion_tokens") or body.get("max_tokens") or longest or USUAL_ANSWER
    return int(length) * int(body.get("n") or 1)


def estimated(usage: Usage, size: int, completion: int) -> Usage:
    """Fill in what the provider did not tell, marked as estimated: bytes for the prompt, chunks for the answer."""
    if usage.prompt_tokens is not None and usage.completion_tokens is not None:
        return usage
    return structs.replace(
        usage,
        prompt_tokens=usage.prompt_tokens if usage.prompt_tokens is not None else -(-size // BYTES_PER_TOKEN),
        completion_tokens=usage.completion_tokens if usage.completion_tokens is not None else completion,
        estimated=True,
    )
