"""Models in GGUF files: a llama.cpp server for each, behind this engine's one port."""

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from connections.engines import folders
from connections.engines.progress import watched
from connections.engines.serving import LOOK_EVERY, ClientLeft
from connections.engines.shapes import JSON, Asked, Backend
from connections.engines.told import Given, Missing, Refused, Report

PATHS = {"chat": "/v1/chat/completions", "completion": "/v1/completions", "embedding": "/v1/embeddings"}
DATA = b"data: "


def backend(given: Given) -> Backend:
    return GGUFBackend(given)


def model_id(file: str) -> str:
    """Never the path."""
    return Path(file).stem.lower()


class GGUFBackend(Backend):
    def __init__(self, given: Given) -> None:
        self.given = given
        self.streams = int(given.settings["at_once"])
        self.servers: dict[str, Any] = {}

    def load(self, report: Report) -> None:
        found = {model_id(name): folders.weights(name, self.given.folders) for name in self.given.settings["files"]}
        self.at_once = self.streams * len(found)
        for number, (name, path) in enumerate(found.items()):
            begin, end = 95 * number // len(found), 95 * (number + 1) // len(found)
            with watched(folders.size(path), report, max(begin, 1), end):
                self.servers[name] = self._started(name, path)

    def _started(self, name: str, path: Path) -> Any:
        import xllamacpp  # noqa: PLC0415 - loads the engine's 40 MB

        params, settings = xllamacpp.CommonParams(), self.given.settings
        params.model.path = str(path)
        params.model_alias = {name}
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.api_keys = [self.given.key]
        params.n_ctx, params.n_parallel = int(settings["context"]) * self.streams, self.streams
        params.n_gpu_layers = int(settings["gpu_layers"])
        params.cpuparams.n_threads = max(1, (os.cpu_count() or 2) - 1)
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.verbosity = 0
        params.ui = params.endpoint_slots = False
        if settings.get("chat_template"):
            params.chat_template, params.use_jinja = settings["chat_template"], True
        try:
            return xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            raise Missing(f"llama.cpp does not load {path.name}: {error}"[:280]) from None

    def models(self) -> list[JSON]:
        return [{"id": name, "context_length": int(self.given.settings["context"])} for name in self.servers]

    def answer(self, asked: Asked) -> JSON:
        with self._asked(asked) as response:
            return json.loads(response.read())  # type: ignore[no-any-return]

    def stream(self, asked: Asked) -> Iterator[JSON]:
        with self._asked(asked) as response:
            for line in response:
                if line.startswith(DATA) and line.strip() != b"data: [DONE]":
                    yield json.loads(line.removeprefix(DATA))

    @contextmanager
    def _asked(self, asked: Asked) -> Iterator[http.client.HTTPResponse]:
        """A good answer of the model's own server, which stops working on it when our client leaves."""
        address = urlsplit(self.servers[asked.body["model"]].listening_address)
        line = http.client.HTTPConnection(address.hostname or "", address.port)
        headers = {"Authorization": f"Bearer {self.given.key}", "Content-Type": "application/json"}
        line.connect()
        with _until_left(line, asked):
            line.request("POST", PATHS[asked.kind], json.dumps(asked.body), headers)
            response = line.getresponse()
            if response.status >= 300:
                _refuse(response)
            yield response


@contextmanager
def _until_left(line: http.client.HTTPConnection, asked: Asked) -> Iterator[None]:
    over = threading.Event()
    upstream = line.sock

    def watch() -> None:
        while not over.wait(LOOK_EVERY):
            if asked.left():
                with suppress(OSError):
                    upstream.shutdown(socket.SHUT_RDWR)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except (OSError, ValueError, http.client.HTTPException):
        if asked.left():
            raise ClientLeft from None
        raise
    finally:
        over.set()
        line.close()


def _refuse(response: http.client.HTTPResponse) -> None:
    told = json.loads(response.read())
    error = told.get("error", {}) if isinstance(told, dict) else {}
    kind, message = str(error.get("type", "")), str(error.get("message", ""))
    if response.status < 500:
        raise Refused(message, "context_length_exceeded" if "context" in kind else kind)
    raise RuntimeError(message)
