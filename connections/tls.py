"""How we trust: always verified, TLS 1.2 or newer, with a connection's own authority beside the public ones."""

import ssl
from functools import lru_cache

from connections.providers.errors import TLSFailed

_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED, _WRONG_HOST, _WRONG_ADDRESS = 9, 10, 18, 62, 64
_UNKNOWN_ISSUER = frozenset({2, 19, 20, 21})

_REASONS = {
    _EXPIRED: "has expired",
    _NOT_YET_VALID: "is not valid yet",
    _SELF_SIGNED: "is self-signed. Add its authority's certificate to the connection",
    _WRONG_HOST: "is for another host",
    _WRONG_ADDRESS: "is for another host",
    **dict.fromkeys(_UNKNOWN_ISSUER, "comes from an unknown authority. Add that authority's certificate"),
}


@lru_cache(maxsize=256)
def context(ca_certificate: str) -> ssl.SSLContext:
    """Making one takes milliseconds, so one serves all connections with the same authority."""
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_certificate:
        try:
            made.load_verify_locations(cadata=ca_certificate)
        except (ssl.SSLError, ValueError):
            raise TLSFailed("The connection's own CA certificate cannot be read. It must be PEM text.") from None
    return made


def failure(error: ssl.SSLError) -> TLSFailed:
    """What went wrong, in words an admin can act on."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _REASONS.get(error.verify_code, "cannot be verified")
        return TLSFailed(f"The provider's certificate {reason}.", evidence=error.verify_message)
    return TLSFailed(
        "The provider's server does not speak TLS 1.2 or newer as it should.", evidence=error.reason or str(error)
    )
