"""Ray itself: started for the user on this machine, or joined at an address; and how many slots fit on it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

from hpo.errors import UserError

# Ray reads these when it is imported or started; a user's own setting goes first
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a slot without GPUs sees none
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a training function finds its files where the sweep was launched
}
_STAYS = ["*.db", "*.db-wal", "*.db-shm", "hpo-trials/", ".git/", ".venv/", "__pycache__/"]
_TOKEN = "RAY_AUTH_MODE"  # Ray reads it; it does not ask for its own token at an address that was written out
HEARD_WITHIN = 10.0  # seconds
_OBJECT_STORE_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True)
class SlotResources:
    """What one slot takes, or each of its workers where it has several. cpus and gpus may be fractions."""

    cpus: float = 1.0
    gpus: float = 0.0
    workers: int = 1

    @property
    def as_ray(self) -> dict[str, float]:
        """As Ray names them, zeros left out."""
        return {name: value for name, value in (("CPU", self.cpus), ("GPU", self.gpus)) if value > 0}


def prepare_environment() -> None:
    """Make Ray quiet and private; call before ray is imported."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def start(address: str | None, folder: Path | None = None) -> None:
    """Start Ray on this machine's loopback, or join the cluster at `address`.

    folder: where the user's code lies; it travels to the nodes of a cluster (never locally: that slows the start).
    Raises UserError when nothing answers at the address.
    """
    prepare_environment()
    import ray

    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": True}
    if address is None:
        # ray.init mostly waits for processes; what the driver needs next loads meanwhile
        Thread(target=import_module, args=("hpo.tuning.tune_loop",), daemon=True).start()
        # address="local": without it ray.init silently joins a cluster that runs on this machine
        ray.init(
            address="local",
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            object_store_memory=_OBJECT_STORE_BYTES,
            **common,
        )
    else:
        _check_heard(address)
        try:
            ray.init(address=address, runtime_env=_travelling(folder), **common)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            hint = None if _TOKEN in os.environ else f"{_TOKEN}=token, if the cluster asks for Ray's token"
            raise UserError(f"address: no Ray cluster answers at {address!r}: {_first_line(error)}", hint) from None
    for name in ("ray", "ray.tune", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _check_heard(address: str) -> None:
    """Raise UserError when nobody listens at HOST:PORT: Ray itself tries for minutes, and prints what it tries."""
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=HEARD_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"address: no Ray cluster answers at {address!r}: {error}") from None


def _travelling(folder: Path | None) -> dict[str, Any]:
    """Ray's runtime environment: a copy of the folder becomes the working directory of every worker."""
    return {} if folder is None else {"working_dir": str(folder), "excludes": _STAYS}


def stop() -> None:
    """Leave Ray; what this process started of it ends."""
    import ray

    if ray.is_initialized():
        ray.shutdown()


def fits(resources: SlotResources) -> int:
    """How many slots the living nodes hold at once, by their total resources."""
    return sum(_fits_on(node, resources) for node in _nodes().values()) // resources.workers


def check_fits(resources: SlotResources) -> None:
    """Raise UserError when no node could ever hold one slot, or the cluster not all workers of one."""
    nodes = _nodes()
    room = sum(_fits_on(node, resources) for node in nodes.values())
    if 0 < room < resources.workers:
        each = f"{resources.cpus:g} CPUs and {resources.gpus:g} GPUs"
        raise UserError(f"trial.workers: {resources.workers} of {each} each asked, there is room for {room}")
    if room:
        return
    for key, name, asked in (("trial.cpus", "CPU", resources.cpus), ("trial.gpus", "GPU", resources.gpus)):
        most = max((node.get(name, 0.0) for node in nodes.values()), default=0.0)
        if asked > most:
            raise UserError(f"{key}: {asked:g} asked, the largest node has {most:g}")
    raise UserError(f"trial: no single node has {resources.cpus:g} CPUs and {resources.gpus:g} GPUs together")


def other_hosts() -> list[str]:
    """Addresses of living nodes that are not on this machine."""
    import psutil
    import ray

    here = {address.address.partition("%")[0] for found in psutil.net_if_addrs().values() for address in found}
    nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
    return sorted({node["NodeManagerAddress"] for node in nodes if node["Alive"]} - here)


def node_answers(node_id: str) -> bool:
    """Whether a node lives, asked at its own port: Ray itself hears of a dead one many seconds later."""
    import ray

    nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
    node = next((node for node in nodes if node["NodeID"] == node_id and node["Alive"]), None)
    if node is None:
        return False
    try:
        with socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), timeout=1.0):
            return True
    except OSError:
        return False


def _nodes() -> dict[str, Mapping[str, float]]:
    import ray

    nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node.get("Resources", {}) for node in nodes if node["Alive"]}


def _fits_on(node: Mapping[str, float], resources: SlotResources) -> int:
    wanted = resources.as_ray
    return min((int(node.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.items()), default=0)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
