"""How calls to providers fail. The class says who must act.

ProviderError              the message is safe to show; `evidence` holds the provider's own (scrubbed) words
├── KeyRefused             401, 403: mend the connection
├── QuotaSpent             402 and kin: the account is empty; waiting does not help
├── RequestRefused         other 4xx: mend the prompt
│   ├── ModelMissing       the provider does not know this model
│   ├── ContextTooLong     the prompt does not fit
│   └── ContentFiltered    the provider's policy refused it
├── BadReply               an answer we cannot read
├── AddressRefused         our own guard does not let us connect there
├── TLSFailed              certificate or handshake
└── Temporary              try again later
    ├── RateLimited        429
    ├── Overloaded         503, 529
    ├── ServerFailed       other 5xx
    ├── Unreachable        no connection, or cut off
    │   └── EngineStopped  an engine of ours that does not run
    └── TimedOut           connect, first byte, silence or the whole call took too long
"""

from connections.providers.calls import Usage


class ProviderError(Exception):
    """`message` is fit for any user; `evidence` (the provider's words, scrubbed, ≤ 500) for connection admins."""

    retryable = False

    def __init__(self, message: str, *, evidence: str = "", status: int | None = None, usage: Usage | None = None):
        super().__init__(message)
        self.message = message
        self.evidence = evidence[:500]
        self.status = status
        self.usage = usage
        self.retry_after: float | None = None

    @property
    def for_caller(self) -> str:
        """What whoever made the call is told."""
        return self.message


class KeyRefused(ProviderError): ...


class QuotaSpent(ProviderError): ...


class RequestRefused(ProviderError):
    parameter: str | None = None
    quote = ""
    """The provider's words about the caller's own request, scrubbed and without addresses."""

    @property
    def for_caller(self) -> str:
        return f"{self.message} {self.quote}".rstrip()


class ModelMissing(RequestRefused): ...


class ContextTooLong(RequestRefused): ...


class ContentFiltered(RequestRefused): ...


class BadReply(ProviderError): ...


class AddressRefused(ProviderError): ...


class TLSFailed(ProviderError): ...


class Temporary(ProviderError):
    retryable = True


class RateLimited(Temporary): ...


class Overloaded(Temporary): ...


class ServerFailed(Temporary): ...


class Unreachable(Temporary): ...


class EngineStopped(Unreachable): ...


class TimedOut(Temporary): ...
