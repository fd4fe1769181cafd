"""One whole call to a provider: the path that real calls, checks and the "Test" button share."""

from connections.providers.calls import Call, Reply
from connections.providers.contract import Provider
from connections.providers.errors import ProviderError
from connections.scrubbing import clean
from connections.transport import NetworkOptions, Timeouts, Transport


async def exchange(
    transport: Transport, provider: Provider, call: Call, options: NetworkOptions, timeouts: Timeouts
) -> Reply:
    """Ask and read the answer. Every failure is a ProviderError whose texts hold no secret."""
    try:
        answer = await transport.send(provider.request(call), options=options, timeouts=timeouts)
        if answer.status >= 300:
            raise provider.problem(answer)
        return provider.reply(call, answer)
    except ProviderError as error:
        clean(error, provider)
        raise
