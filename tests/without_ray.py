"""A sweep worked on in this process: the real coordinator, storage and trainer, one slot, no Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hpo import runs
from hpo.search.coordinator import Coordinator
from hpo.search.live import LiveStudy
from hpo.search.messages import Snapshot
from hpo.storage import open_storage
from hpo.sweep import Sweep
from hpo.tuning.packs import Packs
from hpo.tuning.runner import RunPlan
from hpo.tuning.sharing import tidied
from hpo.tuning.trainer import Trainer


def run_here(keys: dict[str, Any], folder: Path, show: Callable[[Snapshot], None] = lambda last: None) -> str:
    """Run a sweep of these keys, all in `folder`; the database's URL. show: takes the last snapshot."""
    url = f"sqlite:///{folder / 'hpo.db'}"
    sweep = Sweep.from_dict(keys, folder)
    runs._check_checkpoints(sweep)
    with open_storage(url) as storage:
        taking = runs._Taking(None, None)
        runs._check_key(sweep, storage, taking)
        with runs._held(sweep, storage, taking) as tenure:
            plan = runs._prepare(sweep, storage, tenure, taking)
            with tidied(plan.files, plan.search, lambda: runs._trials(sweep.name, url), apart=False):
                show(_run(plan))
    return url


def _run(plan: RunPlan) -> Snapshot:
    opened = plan.source.open()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        live = LiveStudy(
            opened.study, plan.search, opened.flush, plan.files.log_text, record=opened.record, note=opened.log
        )
        coordinator = Coordinator(live, plan.search)
        _work(coordinator, plan)
        return coordinator.close("done")
    finally:
        torch.set_num_threads(threads)
        opened.close()


def _work(coordinator: Coordinator, plan: RunPlan) -> None:
    coordinator.open_slot("here")
    trainer = Trainer(plan.files, lambda news, free, holds: coordinator.exchange("here", news, free, holds))
    packing = plan.job.packing("cpu") if isinstance(plan.pack, int) else None  # auto would measure
    if packing is not None and isinstance(plan.pack, int):
        packs = Packs(trainer, packing, plan.pack)
        while not packs.round().over:
            pass
        return
    train = plan.job.load("cpu")
    while True:
        answer = trainer.exchange(1)
        if answer.over:
            return
        for given in answer.assignments:
            trainer.train(train, given)
