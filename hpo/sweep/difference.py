"""What differs between two sweeps, for whoever launches a name again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.schema import flatten


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, one line a key."""
    old, new = flatten(before), flatten(now)
    lines = []
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            was, becomes = (repr(side[key]) if key in side else "absent" for side in (old, new))
            if key.startswith("code."):
                lines.append(f"{key.removeprefix('code.')}: the file has changed since")
            else:
                lines.append(f"{key}: was {was}, now {becomes}")
    return lines
