"""`python -m connections.engines`: loads what the first line of its input names, and serves it until told to stop."""

import os
import secrets
import signal
import sys
import threading
import traceback
from importlib import import_module

from connections.engines.serving import EngineServer
from connections.engines.shapes import Backend
from connections.engines.told import HOPELESS, Given, Missing, Report, report

MODULES = {
    "transformers": "transformers_engine",
    "gguf": "gguf_engine",
    "vllm": "vllm_engine",
    "langchain": "langchain_engine",
    "python": "python_engine",
}


def main() -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))  # the libraries' threads have nothing to save
    given = Given.read()
    server = EngineServer(given.host, given.port, given.key or secrets.token_urlsafe(32))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    report("loading", port=server.server_address[1], percent=0)
    try:
        backend: Backend = import_module(f"connections.engines.{MODULES[given.engine]}").backend(given)
        backend.load(_reporting(server))
    except Missing as error:
        _give_up(str(error))
    except Exception as error:
        traceback.print_exc()
        _give_up(f"Loading failed: {type(error).__name__}: {error}"[:280])
    server.open_with(backend)
    report("running", port=server.server_address[1], models=backend.models())
    signal.pause()


def _reporting(server: EngineServer) -> Report:
    def loaded(percent: int) -> None:
        if percent > server.percent:
            server.percent = percent
            report("loading", percent=percent)

    return loaded


def _give_up(reason: str) -> None:
    report("failed", reason=reason)
    sys.stdout.flush()
    os._exit(HOPELESS)


if __name__ == "__main__":
    main()
