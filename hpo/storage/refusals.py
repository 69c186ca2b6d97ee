"""What a write ends with when it must not, or cannot, be made.

StorageLost (1)      the database refused a write, or did not answer for too long
└── Fenced  (1)      somebody else took the study over: what this process still wants to write is refused
Held        (2)      the study is being worked on; nobody took it
"""

from __future__ import annotations

from hpo.errors import Refused, SweepFailed


class StorageLost(SweepFailed):
    """The database refused a write, or did not answer for too long. What was committed before is safe."""


class Fenced(StorageLost):
    """Somebody else works on the study now. Nothing more of this process is written to it."""


class Held(Refused):
    """Somebody works on the study. The sentence says who, and since when."""
