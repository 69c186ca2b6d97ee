"""Where a slot runs; apart from the coordinator's actor, which loads the storage, and a slot needs none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SlotPlace:
    """Its node, the actor to kill when it hangs, and the hpo installed there."""

    node: str
    actor: Any
    version: str
