"""Makes the environments of the real servers that `make test-peers` speaks with, then runs its tests.

Each server has an environment of its own, outside of ours: they want versions of libraries that bite each other.
Some are large (PyTorch). `python tools/peers.py <uv> [names…]`.
"""

import os
import subprocess
import sys
from pathlib import Path

HOME = Path(".venv-peers")
PEERS = {
    "langserve": ["langserve[server]==0.3.3", "langchain-openai", "sse-starlette"],
    "xinference": ["xinference==4.1.0", "xllamacpp"],
    "litellm": ["litellm[proxy]==1.109.1"],
    "transformers": ["transformers[serving]>=5", "torch", "accelerate"],
    "fastchat": ["fschat==0.2.36", "torch", "transformers<5", "accelerate", "sentencepiece", "protobuf<7", "gguf"],
}


def prepare(uv: str, name: str) -> None:
    """Once; a changed list of packages makes it anew."""
    folder, wanted = HOME / name, "\n".join(PEERS[name])
    told = folder / "packages.txt"
    if told.exists() and told.read_text() == wanted:
        return
    print(f"Preparing {name}: {', '.join(PEERS[name])}", flush=True)
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)  # noqa: S603 - our own list
    python = str(folder / "bin" / "python")
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PEERS[name]], check=True)  # noqa: S603 - our own list
    told.write_text(wanted)


def main(uv: str, *names: str) -> int:
    for name in names or PEERS:
        prepare(uv, name)
    picked = ["-m", "peer", "-n", "0", "--timeout", "600", "-v", "tests/peers"]
    environment = {**os.environ, "PEERS_HOME": str(HOME.resolve())}
    return subprocess.run([sys.executable, "-m", "pytest", *picked], env=environment, check=False).returncode  # noqa: S603 - our own list


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
