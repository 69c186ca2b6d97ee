"""The room that a slot's workers take on the cluster, given back when the slot is gone, however it went.

Ray keeps a placement group until its creator and the whole job are gone, and Ray Train's own cleaner asks the
dashboard, which need not run. So a worker writes down, where every process of the cluster reads it, which one is its
slot's.
"""

from __future__ import annotations

import contextlib

import ray
from ray.experimental import internal_kv
from ray.util.placement_group import PlacementGroup, get_current_placement_group, remove_placement_group


def note_room(slot: str) -> None:
    """Called by a worker of the slot."""
    group = get_current_placement_group()
    if group is not None:
        internal_kv._internal_kv_put(_key(slot), group.id.binary())


def give_room_back(slot: str) -> None:
    """Called by the driver for a slot that is gone: what is left of its workers ends, others may have their place."""
    found = internal_kv._internal_kv_get(_key(slot))
    if not found:
        return
    with contextlib.suppress(ray.exceptions.RayError):
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(found)))
    internal_kv._internal_kv_del(_key(slot))


def _key(slot: str) -> bytes:
    return f"hpo:room:{slot}".encode()
