"""How fast a web process starts, how much memory it takes, and what a second one adds."""

import statistics
import time
from dataclasses import dataclass

from bench.loads import Result, calls, measured, streams
from bench.servers import Lab

STARTS = 3
SETTLED = 2.0
"""Seconds after which a new process is idle."""


@dataclass(frozen=True)
class Start:
    seconds: float
    cpu_seconds: float
    """Of these: what it takes on a machine that does nothing else."""
    idle_mb: float
    streaming_mb: float
    """The most while 512 streams run."""


@dataclass(frozen=True)
class Scaling:
    one: Result
    two: Result

    @property
    def gain(self) -> float:
        return float(self.two["per_second"] / self.one["per_second"])

    @property
    def told(self) -> str:
        """The load takes part of the cores that the second process might have."""
        shares = " and ".join(f"{seen['load']:.0%}" for seen in (self.one, self.two))
        return f"{self.one['per_second']:,.0f} → {self.two['per_second']:,.0f}; the load took {shares} of a core"


def start(lab: Lab) -> Start:
    seconds, cpu = [], []
    for _ in range(STARTS):
        server = lab.mesh()
        seconds.append(server.ready)
        cpu.append(server.process.cpu_seconds())
        if len(seconds) < STARTS:
            server.process.stop()
    time.sleep(SETTLED)
    idle = server.process.memory_mb()
    with server.process.highest_memory() as seen:
        streams(server, 512, 20)
    server.process.stop()
    return Start(statistics.median(seconds), statistics.median(cpu), idle, max(seen))


def scaling(lab: Lab, seconds: int) -> Scaling:
    """With every core free for the server; the load's CPU is told, because it has no core of its own here."""
    return Scaling(*(_throughput(lab, workers, seconds) for workers in (1, 2)))


def _throughput(lab: Lab, workers: int, seconds: int) -> Result:
    server = lab.meshes(workers)
    calls(server, 64, 2)
    seen = measured(lab, server, lambda server: calls(server, 64, seconds))
    server.process.stop()
    return seen
