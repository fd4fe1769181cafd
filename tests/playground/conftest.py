"""`visitor`: a signed-in browser without JavaScript engine, speaking with the real server."""

import html
import http.client
import re
import uuid
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.test import Client

from access.models import User
from connections.models import Connection
from playground.models import Run
from tests.mesh import Mesh


class Stream:
    """The composer's event stream, read as it comes."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response

    def event(self) -> str:
        """The next event's data; an empty text at the end."""
        lines = []
        while line := self.response.readline().decode():
            if line == "\n":
                break
            lines.append(line.rstrip("\n"))
        return "\n".join(line.removeprefix("data: ") for line in lines)

    def rest(self) -> list[str]:
        return list(iter(self.event, ""))

    def leave(self) -> None:
        self.response.close()


@dataclass
class Visitor:
    mesh: Mesh
    user: User
    conversation: uuid.UUID = field(default_factory=uuid.uuid4)

    def __post_init__(self) -> None:
        client = Client()
        client.force_login(self.user)
        self.cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
        page = self.open("GET", "/playground/").read().decode()
        self.token = re.search(r'"X-CSRFToken": "(\w+)"', page)[1]

    def open(self, method: str, path: str, fields: dict[str, object] | None = None, *, htmx: bool = False):
        connection = http.client.HTTPConnection("127.0.0.1", self.mesh.port, timeout=30)
        headers = {"Cookie": self.cookie, "Content-Type": "application/x-www-form-urlencoded"}
        headers |= {"HX-Request": "true"} if htmx else {}
        body = urlencode({"csrfmiddlewaretoken": self.token, **fields}) if fields is not None else None
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def get(self, path: str, **options) -> str:
        with self.open("GET", path, **options) as response:
            return html.unescape(response.read().decode())

    def post(self, path: str, htmx: bool = True, **fields):
        return self.open("POST", path, {"model": "openai/gpt-4o-mini", "stream": "on", **fields}, htmx=htmx)

    def ask(self, text: str, **fields) -> Stream:
        response = self.post(f"/playground/{self.conversation}/ask", text=text, **fields)
        assert response.status == 200, response.read().decode()
        return Stream(response)

    def ask_without_javascript(self, text: str, **fields) -> http.client.HTTPResponse:
        return self.post(f"/playground/{self.conversation}/ask", htmx=False, text=text, **fields)

    @property
    def page(self) -> str:
        return self.get(f"/playground/{self.conversation}/")

    @property
    def run(self) -> Run:
        return Run.objects.filter(turn__conversation_id=self.conversation).latest()


@pytest.fixture
def chat(connect, analysts) -> Connection:
    """A connection whose one model Analysts may use."""
    return connect("openai", group=analysts)


@pytest.fixture
def visitor(mesh: Mesh, chat: Connection, alice: User) -> Visitor:
    mesh.refresh()
    return Visitor(mesh, alice)
