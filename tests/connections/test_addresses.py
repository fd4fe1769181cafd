"""The guard: which addresses we connect to, however they are spelt."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from connections import addresses
from connections.addresses import Guard
from connections.providers.errors import AddressRefused

PUBLIC = Guard()
OFFICE = Guard.of(["10.0.0.0/8", "127.0.0.1", "fd12::/16", "Ollama.internal", "localhost"])


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://api.example.com/v1/",
        "https://api.example.com:8443/v1?api-version=2026-01-01",
        "https://8.8.8.8/v1",
        "https://[2606:4700::1111]/v1",
        "HTTPS://API.Example.com/v1",
        "https://my_endpoint.us-east-1.example.com",
    ],
)
def test_public_https_is_open(url):
    assert PUBLIC.url(url) == URL(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://api.example.com", "https://"),
        ("ftp://api.example.com", "https://"),
        ("file:///etc/passwd", "https://"),
        ("gopher://api.example.com", "https://"),
        ("unix:/run/docker.sock", "https://"),
        ("//api.example.com", "https://"),
        ("api.example.com", "https://"),
        ("https://", "https://"),
        ("", "space"),
        ("https://user:pw@api.example.com", "password"),
        ("https://@api.example.com", "password"),
        ("https://api.example.com#@evil.test", "#"),
        ("https://api.example.com/\r\nHost: evil.test", "control"),
        ("https://api.example.com/\tx", "control"),
        ("https://api.example.com /x", "space"),
        (" https://api.example.com", "space"),
        ("https://api.example.com\\@evil.test", "backslash"),
        ("https://api.example.com/" + "x" * 3000, "longer"),
        ("https://api.example.com.", "dot"),
        ("https://xn--80ak6aa92e.com", "Punycode"),
        ("https://ex%61mple.com", "characters"),
        ("https://-a.example", "characters"),
        ("https://a..example", "characters"),
        ("https://[fe80::1%25eth0]/", "zone"),
        ("https://[::ffff:8.8.8.8]/", "IPv4"),
        ("https://[::1", "read"),
        ("https://api.example.com:0", "Port"),
        ("https://api.example.com:22", "Port"),
        ("https://api.example.com:6379", "Port"),
        ("https://api.example.com:65536", "read"),
        ("https://localhost", "machine"),
        ("https://api.localhost", "machine"),
    ],
)
def test_a_url_that_hides_something_is_refused_with_a_sentence(url, words):
    with pytest.raises(AddressRefused, match=words):
        PUBLIC.url(url)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "１２７.0.0.1",
        "①②⑦.0.0.1",
        "127.0.0.1.",
        "1.2.3.0x4",
    ],
)
@pytest.mark.parametrize("guard", [PUBLIC, OFFICE])
def test_an_address_has_one_spelling(guard, host):
    with pytest.raises(AddressRefused):
        guard.url(f"https://{host}/")


NOT_PUBLIC = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1"),
    *("ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1"),
    *("64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:808:808::f5ff:fffe", "fec0::1"),
]
METADATA = [
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "::ffff:169.254.169.254"),
    *(
        "::169.254.169.254",
        "2001:0:808:808::5601:5601",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "fe80::a9fe:a9fe",
        "168.63.129.16",
    ),
]


@pytest.mark.parametrize("address", NOT_PUBLIC + METADATA)
def test_only_public_addresses_are_open_by_default(address):
    with pytest.raises(AddressRefused):
        PUBLIC.address(address, "api.example.com")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"])
def test_public_addresses_are_open(address):
    PUBLIC.address(address, "api.example.com")


@pytest.mark.parametrize("address", METADATA)
def test_no_deployment_opens_the_metadata_service(address):
    everything = Guard.of(["0.0.0.0/0", "::/0", "metadata.example"])
    with pytest.raises(AddressRefused, match="metadata"):
        everything.address(address, "metadata.example")


def test_the_deployment_lists_networks_and_names():
    OFFICE.address("10.9.8.7", "models.example.com")
    OFFICE.address("::ffff:10.9.8.7", "models.example.com")
    OFFICE.address("192.168.7.7", "ollama.internal")
    with pytest.raises(AddressRefused):
        OFFICE.address("192.168.7.7", "models.example.com")


@pytest.mark.parametrize(
    "url", ["http://localhost:11434/api", "http://10.0.0.5:6379", "http://127.0.0.1:80", "http://OLLAMA.internal:11434"]
)
def test_what_is_listed_may_use_plain_http_and_any_high_port(url):
    OFFICE.url(url)


@pytest.mark.parametrize("url", ["http://10.0.0.5:22", "http://127.0.0.2:8000", "http://192.168.0.1:8000"])
def test_what_is_not_listed_stays_closed(url):
    with pytest.raises(AddressRefused):
        OFFICE.url(url)


def test_one_private_address_spoils_a_name():
    with pytest.raises(AddressRefused):
        PUBLIC.addresses(["8.8.8.8", "10.0.0.1"], "api.example.com")


def test_an_address_that_cannot_be_read_is_refused():
    with pytest.raises(AddressRefused):
        PUBLIC.address("not an address", "api.example.com")


def test_the_setting_decides(settings):
    settings.PRIVATE_ADDRESSES = []
    with pytest.raises(AddressRefused):
        addresses.check_url("https://127.0.0.1:8000")
    with pytest.raises(AddressRefused):
        addresses.guard().address("127.0.0.1", "models.example.com")
    settings.PRIVATE_ADDRESSES = ["127.0.0.0/8"]
    addresses.check_url("http://127.0.0.1:8000")
    addresses.guard().address("127.0.0.1", "models.example.com")


@given(st.ip_addresses(v=4))
def test_a_wrapped_address_is_never_more_open_than_the_bare_one(bare):
    """Whatever a v4 address is refused for, all the v6 forms that lead to it are refused for too."""
    number = int(bare)
    forms = [
        ipaddress.IPv6Address(0xFFFF00000000 + number),
        ipaddress.IPv6Address((0x64FF9B << 96) + number),
        ipaddress.IPv6Address((0x2002 << 112) + (number << 80) + 1),
        ipaddress.IPv6Address((0x20010000 << 96) + (number ^ 0xFFFFFFFF)),
    ]
    if _open(str(bare)):
        assert bare.is_global
    else:
        assert not any(_open(str(form)) for form in forms)


@given(st.text(max_size=40))
def test_any_text_is_either_refused_or_a_public_https_host(text):
    try:
        url = PUBLIC.url(f"https://{text}")
    except AddressRefused:
        return
    assert url.scheme == "https"
    assert url.user is None
    assert url.raw_host
    assert text.lower().startswith(url.raw_host) or text.startswith("[")


def _open(address: str) -> bool:
    try:
        PUBLIC.address(address, "api.example.com")
    except AddressRefused:
        return False
    return True
