"""Whether connections work: what a test or a check does, what it costs, and what is written down.

A connection turns failing with the first check that fails, and healthy with the first that succeeds: what is
shown is what was seen last, and the strip of past checks tells whether that is a habit. A provider's fault is
the connection's state, never ours: no check raises because of what a provider does.
"""

from connections.health.checks import Finding, ModelFinding, check_connection
from connections.health.paid import MeteredCall, meters, short_call
from connections.health.record import jittered, record
from connections.health.stages import Progress, Stage, discover, staged_test

__all__ = [
    "Finding",
    "MeteredCall",
    "ModelFinding",
    "Progress",
    "Stage",
    "check_connection",
    "discover",
    "jittered",
    "meters",
    "record",
    "short_call",
    "staged_test",
]
