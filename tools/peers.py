"""Makes the environments of the real servers that `make test-peers` speaks with, then runs its tests.

Each server has an environment of its own, outside of ours: they want versions of libraries that bite each other.
Some are large (PyTorch). `python tools/peers.py <uv> [names…]`. `make bench-peers` only has some made:
`python tools/peers.py --make <uv> <names…>`.
"""

import os
import subprocess
import sys
from pathlib import Path

HOME = Path(".venv-peers")
PEERS = {
    "langserve": ["langserve[server]==0.3.3", "langchain-openai", "sse-starlette"],
    "xinference": ["xinference==4.1.0", "xllamacpp"],
    "litellm": ["litellm[proxy]==1.106.2"],  # the newest whose parts are all published
    "transformers": ["transformers[serving]>=5", "torch", "accelerate"],
    "fastchat": ["fschat==0.2.36", "torch", "transformers<5", "accelerate", "sentencepiece", "protobuf<7", "gguf"],
}
MEASURING = {"py-spy": ["py-spy==0.4.3"]}
"""What looks into a server while it is measured."""


def prepare(uv: str, name: str) -> None:
    """Once; a changed list of packages makes it anew."""
    packages = {**PEERS, **MEASURING}[name]
    folder, wanted = HOME / name, "\n".join(packages)
    told = folder / "packages.txt"
    if told.exists() and told.read_text() == wanted:
        return
    print(f"Preparing {name}: {', '.join(packages)}", flush=True)
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)  # noqa: S603 - our own list
    python = str(folder / "bin" / "python")
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages], check=True)  # noqa: S603 - our own list
    told.write_text(wanted)


def main(*arguments: str) -> int:
    only_make = arguments[0] == "--make"
    uv, *names = arguments[1:] if only_make else arguments
    for name in names or PEERS:
        prepare(uv, name)
    if only_make:
        return 0
    picked = ["-m", "peer", "-n", "0", "--timeout", "600", "-v", "tests/peers"]
    environment = {**os.environ, "PEERS_HOME": str(HOME.resolve())}
    return subprocess.run([sys.executable, "-m", "pytest", *picked], env=environment, check=False).returncode  # noqa: S603 - our own list


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
