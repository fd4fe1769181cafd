"""One run, one table: what a call and a streamed chunk cost here, beside nginx, Portkey's gateway and LiteLLM's proxy.

`python -m bench [--peers] [--rounds 3] [--seconds 5] [--only calls,streams] [--limits memory]`, with
`DATABASE_URL` for another database than SQLite. docs/performance.md tells what it measures, and how.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from bench import crashes, machine, profile, report, starts
from bench.loads import LONG_PROMPT, Result, calls, measured, streams
from bench.servers import DIRECT, LITELLM, MESH, NGINX, PORTKEY, TRANSLATED, Lab, Server, missing_tools
from bench.shown import CALLS, FIRST, LONG, MANY, STREAMS, TRANSLATION, Found, costs, targets

PARTS = ("calls", "long", "streams", "first", "many", "translated", "start", "crash", "scaling")
EVERYBODY = {MESH, NGINX, DIRECT, PORTKEY, LITELLM}


class Load(NamedTuple):
    part: str
    what: str
    ask: Callable[[Server], Result]
    of: set[str] = EVERYBODY


def main() -> None:
    options = _options()
    if missing := missing_tools(options.peers, options.profile is not None):
        sys.exit(missing)
    machine.first = options.first
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Told to stop."))  # what was started is stopped all the same
    with (
        tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder,
        closing(Lab(Path(folder), valkey=options.limits == "valkey")) as lab,
    ):
        if options.profile:
            profile.run(lab, options.profile, options.seconds)
        else:
            _show(_found(options, lab), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also Portkey's gateway and LiteLLM's proxy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each plain load")
    parser.add_argument("--only", type=_parts, default=PARTS, help=f"some of {','.join(PARTS)}")
    parser.add_argument("--limits", choices=("valkey", "memory"), default="valkey", help="where limits are counted")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="tell instead where the server's time goes")
    parser.add_argument("--first", action="store_true", help="go before all other programs; needs root")
    parser.add_argument("--write", type=_page, metavar="PAGE", help="also into this page, under its last heading")
    return parser.parse_args()


def _page(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"There is no page {text}.")
    return Path(text)


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"There is no part {', '.join(sorted(unknown))}.")
    return parts


def _found(options: argparse.Namespace, lab: Lab) -> Found:
    found = Found()
    if "start" in options.only:
        found.start = starts.start(lab)
    if loads := [load for load in _loads(options.seconds) if load.part in options.only]:
        found.results = _measure(options, lab, loads)
    if "crash" in options.only:
        found.crash = crashes.crash(lab)
    if "scaling" in options.only and lab.valkey:  # without it, several processes cannot keep one limit
        found.scaling = starts.scaling(lab, options.seconds)
    return found


def _loads(seconds: int) -> Iterator[Load]:
    for flying in (1, 16, 64):
        yield Load("calls", CALLS[flying], lambda server, flying=flying: calls(server, flying, seconds))
    yield Load("long", LONG, lambda server: calls(server, 16, seconds, LONG_PROMPT))
    yield Load("streams", STREAMS, lambda server: streams(server, 64, 50))
    yield Load("translated", TRANSLATION, lambda server: streams(server, 64, 50, model=TRANSLATED), {MESH})
    yield Load("first", FIRST, lambda server: streams(server, 100, 200, chunks=2, alone=True))
    yield Load("many", MANY, lambda server: streams(server, 512, 20), {MESH, NGINX, DIRECT})


def _measure(options: argparse.Namespace, lab: Lab, loads: list[Load]) -> list[Result]:
    """Several short rounds, the servers taking turns, so that a slow minute hits all alike."""
    servers = [lab.direct(), lab.nginx(), lab.mesh()]
    if options.peers:
        servers += [lab.portkey(), lab.litellm()]
    found: list[Result] = []
    for server in servers:
        measured(lab, server, lambda server: calls(server, 16, 2))  # warms it up
    for _ in range(options.rounds):
        for server in servers:
            for load in loads:
                if server.name in load.of:
                    found.append({"what": load.what, **measured(lab, server, load.ask)})
    return found


def _show(found: Found, options: argparse.Namespace) -> None:
    tables = [costs(found.results), targets(found)] if found.results else [targets(found)]
    for table in tables:
        Console(width=160).print(table)
    if options.write:
        database = os.environ.get("DATABASE_URL", "sqlite").partition(":")[0]
        how = f"rounds: {options.rounds}, each load {options.seconds} s, {database}, limits in {options.limits}"
        how += ", before all other programs" if options.first else ""
        report.write(options.write, tables, how)


if __name__ == "__main__":
    main()
