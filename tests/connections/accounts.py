"""What the tests of forms, pages, API and services have in common."""

from connections import services
from connections.account import Account, settle
from connections.models import Connection
from connections.providers import registry

URL = "https://api.example.com/v1"
CANARY = "sk-canary-Zx81kQpL0vWm27TbYc94"

BAD_URLS = [
    "http://api.example.com",
    "ftp://api.example.com",
    "file:///etc/passwd",
    "gopher://api.example.com",
    "unix:/var/run/docker.sock",
    "https://user:pw@api.example.com",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://[::ffff:127.0.0.1]/",
    "https://[fe80::1%25eth0]/",
    "https://api.example.com./",
    "https://１２７.0.0.1/",
    "https://xn--pple-43d.com/",
    "https://foo.localhost/",
    "https://10.0.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[64:ff9b::a00:1]/",
    "https://api.example.com:0/",
    "https://api.example.com:22/",
    "https://api.example.com:6379/",
    "https://api.example.com:65536/",
    "https://api.example.com/\r\nx: y",
    "https://api.example.com/a\tb",
    "https://api.example.com\\@127.0.0.1/",
    "https://api.example.com/#x",
    "https://api.example.com/a b",
    "api.example.com",
]
"""Bad inputs 109 to 117."""

BAD_NAMES = [
    "",
    "   ",
    "x" * 81,
    "x" * 10_000,
    "with\x00nul",
    "bell\x07",
    "right\u202eleft",
    "zero\u200bwidth",
    "two\nlines",
]
"""Bad input 128, the part that is refused."""

STRANGE_NAMES = ["<img src=x onerror=alert(1)>", "{{7*7}}", "=cmd()", "%_%", "Überraschung 日本"]
"""Bad input 128, the part that is stored and shown as what it is: text."""


def account(**settings: str) -> Account:
    return settle(registry.providers()["openai"], {"base_url": URL, **settings}, {"api_key": CANARY})


def connect(actor, name: str = "Main", **options) -> Connection:
    return services.create_connection(actor, account(), {"name": name}, **options)
