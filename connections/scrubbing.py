"""Errors of a connection's provider, fit to leave the connection."""

from connections.providers.contract import Provider
from connections.providers.errors import ProviderError, RequestRefused
from connections.providers.scrubbing import scrub


def clean(error: ProviderError, provider: Provider) -> None:
    """Hide the provider's secrets in the texts of the error."""
    secrets = provider.secrets()
    error.message, error.evidence = scrub(error.message, secrets), scrub(error.evidence, secrets)
    error.args = (error.message,)
    if isinstance(error, RequestRefused):
        error.quote = scrub(error.quote, secrets)
