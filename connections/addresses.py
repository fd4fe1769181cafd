"""Where we may connect. An address is checked when it is saved and again at the moment we connect.

Public addresses are open over https. Everything else (private networks, this machine, plain http) is open only
to what `settings.PRIVATE_ADDRESSES` lists as networks or host names, and a few addresses never are.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import quote, urlsplit

from django.conf import settings
from yarl import URL

from connections.providers.errors import AddressRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2048
WEB_PORTS = frozenset({80, 443})
FIRST_FREE_PORT = 1024
FOREIGN_PORTS = frozenset(
    {
        *(1433, 1521, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5671, 5672, 5900, 5984, 5985, 5986),
        *(6379, 6443, 6667, 8125, 8500, 9042, 9092, 9200, 9300, 10250, 10255, 11211, 15672, 16379),
        *(27017, 27018, 27019, 50070),
    }
)
"""Databases, brokers and control planes: no language model is served there."""

NEVER = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8"),  # this network, multicast, reserved
        *("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),  # metadata of clouds
        *("fd00:ec2::/32", "fd20:ce::/32", "fe80::a9fe:a9fe/128"),
    )
)
"""Refused whatever the deployment lists."""

NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)
GLOBAL_UNICAST = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")

_PRINTABLE = re.compile(r"[!-~]+")
_USER = re.compile(r"[^/]*//[^/?]*@")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
ESCAPED_OR_PLAIN = "%/?:@!$&'()*+,;=-._~"
"""What stays as it is in a path or a query."""
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")


def check_url(url: str) -> None:
    """Raise AddressRefused, with a sentence for the admin, unless we may connect to this URL as it is written."""
    guard().url(url)


@dataclass(frozen=True)
class Guard:
    """The rules, together with what this deployment allows beyond the public internet."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, listed: Iterable[str]) -> "Guard":
        """`listed` mixes networks, addresses and host names, as the setting does."""
        networks, names = [], set()
        for text in listed:
            try:
                networks.append(ip_network(text.strip(), strict=False))
            except ValueError:
                names.add(text.strip().lower())
        return cls(tuple(networks), frozenset(names))

    def url(self, text: str) -> URL:
        """The parsed URL. Connect to this object, never to the text again."""
        url = _parsed(text)
        host = url.raw_host or ""
        _check_spelling(host)
        address = literal(host)
        if address is not None:
            self.address(host, host)
        listed = host in self.names or (address is not None and self._lists(address))
        if not listed and (host == "localhost" or host.endswith(".localhost")):
            raise AddressRefused("This machine's own address is not allowed. MESH_PRIVATE_ADDRESSES can list it.")
        if url.scheme != "https" and not listed:
            raise AddressRefused("The address must begin with https://. MESH_PRIVATE_ADDRESSES can allow plain http.")
        _check_port(url.port or 0, listed=listed)
        return _verbatim(url, text)

    def address(self, text: str, host: str) -> None:
        """Raise AddressRefused unless `host` may be reached at this address, one of those it resolves to."""
        try:
            address = ip_address(text)
        except ValueError:
            raise AddressRefused("The host's address cannot be read.") from None
        reached = [address, *_embedded(address)]
        if any(one in network for one in reached for network in NEVER):
            raise AddressRefused("The host's address is a cloud's metadata service or a reserved one: never allowed.")
        if host in self.names or self._lists(address):
            return
        if not all(_is_public(one) for one in reached):
            raise AddressRefused("The host's address is not a public one. MESH_PRIVATE_ADDRESSES can list it.")

    def addresses(self, found: Iterable[str], host: str) -> None:
        """One bad address among good ones spoils the name: it could be picked next time."""
        for address in found:
            self.address(address, host)

    def _lists(self, address: Address) -> bool:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self.networks)


def literal(host: str) -> Address | None:
    """The address that `host` spells out; None: it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def guard() -> Guard:
    return _guard(tuple(settings.PRIVATE_ADDRESSES))


def pictures_guard() -> Guard:
    """For addresses that callers send: what connections may reach is not for them to look at."""
    return _guard(tuple(settings.PICTURE_ADDRESSES))


@lru_cache(maxsize=8)
def _guard(listed: tuple[str, ...]) -> Guard:
    return Guard.of(listed)


def _parsed(text: str) -> URL:
    if len(text) > MAX_URL:
        raise AddressRefused(f"The address is longer than {MAX_URL} characters.")
    if not _PRINTABLE.fullmatch(text) or "\\" in text:
        raise AddressRefused("The address holds a space, a backslash, a control character or a letter beyond ASCII.")
    if "#" in text:
        raise AddressRefused("The address must not have a part after #.")
    try:
        url = URL(text)
    except ValueError:
        raise AddressRefused("The address cannot be read. Write it like https://host.example/path.") from None
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise AddressRefused("The address must begin with https:// and name a host.")
    if _USER.match(text):
        raise AddressRefused("The address must not hold a user name or password. Put secrets in their own field.")
    return url


def _verbatim(url: URL, text: str) -> URL:
    """With path and query as they are written: signatures cover them byte for byte, and yarl unescapes."""
    parts = urlsplit(text)
    path, query = quote(parts.path, safe=ESCAPED_OR_PLAIN), quote(parts.query, safe=ESCAPED_OR_PLAIN)
    return URL.build(scheme=url.scheme, authority=url.raw_authority, path=path or "/", query_string=query, encoded=True)


def _check_spelling(host: str) -> None:
    """One spelling per host: what reads differently here and in a resolver is refused."""
    if ":" in host:
        return _check_ipv6(host)
    if host.endswith("."):
        raise AddressRefused("The host name must not end in a dot.")
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise AddressRefused("The host name holds characters that host names do not have, or is too long.")
    if any(label.startswith("xn--") for label in host.split(".")):
        raise AddressRefused("Host names in Punycode (xn--) can look like another name and are refused.")
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and literal(host) is None:
        raise AddressRefused("Write a numeric host as four decimal numbers, like 192.0.2.10.")


def _check_ipv6(host: str) -> None:
    address = literal(host)
    if address is None or "%" in host:
        raise AddressRefused("The IPv6 address cannot be read, or has a zone.")
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        raise AddressRefused("Write the IPv4 address itself, not its IPv6 form.")


def _check_port(port: int, *, listed: bool) -> None:
    free = port >= FIRST_FREE_PORT and (listed or port not in FOREIGN_PORTS)
    if port not in WEB_PORTS and not free:
        raise AddressRefused(f"Port {port} is not allowed: it is no port where language models are served.")


def _is_public(address: Address) -> bool:
    """Judges the address alone; those it leads to are judged beside it."""
    if any(address in network for network in NOT_PUBLIC):
        return False
    return isinstance(address, IPv4Address) or address in GLOBAL_UNICAST or any(_embedded(address))


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to: mapped, compatible, NAT64, 6to4, Teredo."""
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in NAT64 or 1 < int(address) < 2**32:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
