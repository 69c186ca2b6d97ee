"""Words for a sweep in progress; no terminal here, so that scripts and the command line say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.search.messages import Snapshot, TrialEnd
from hpo.search.states import State

if TYPE_CHECKING:
    from hpo.sweep import Sweep


def slots_line(sweep: Sweep, fits: int) -> str | None:
    """How many slots a run begins with, of which `fits` do; None where it is as it was asked for."""
    takes = f"{sweep.trial.cpus:g} CPUs, {sweep.trial.gpus:g} GPUs"
    if sweep.trial.workers > 1:
        takes = f"{sweep.trial.workers} workers, each {takes}"
    if sweep.concurrency == "auto":
        return f"training in {fits} slot{'s' if fits != 1 else ''} of {takes}"
    if fits < int(sweep.concurrency):
        return f"concurrency: {sweep.concurrency} slots asked for, {fits} fit now; more start when nodes join"
    return None


def unpacked(sweep: Sweep) -> str | None:
    """Why there are no packs although `pack` would have them; None where there are, or nobody would expect them."""
    if sweep.trial.workers == 1 or sweep.pack == "off" or sweep.train is not None:
        return None
    return f"pack: off, since {sweep.trial.workers} workers train one trial at a time (trial.workers)"


def done_of(snapshot: Snapshot) -> str:
    """`37 of 60`."""
    done = sum(snapshot.counts.values())
    return f"{done} of {snapshot.total}" if snapshot.total is not None else str(done)


def counts_text(snapshot: Snapshot) -> str:
    """`12 complete, 24 pruned, 1 failed`."""
    counts = snapshot.counts
    return f"{counts[State.COMPLETE]} complete, {counts[State.PRUNED]} pruned, {counts[State.FAIL]} failed"


def best_text(snapshot: Snapshot) -> str:
    """`best 0.97222 (trial 12)`; nothing while no trial is COMPLETE."""
    best = snapshot.best
    if best is None or best.value is None:
        return "none meets the constraints yet" if snapshot.counts.get(State.COMPLETE) else ""
    return f"best {best.value:.6g} (trial {best.number})"


def trial_line(end: TrialEnd, snapshot: Snapshot) -> str:
    """One line of an ended trial, beside where the sweep stands."""
    stands = ", ".join(filter(None, [done_of(snapshot), best_text(snapshot)]))
    return f"trial {end.number} {_outcome(end)} ({end.seconds:.1f} s); {stands}"


def _outcome(end: TrialEnd) -> str:
    """`complete: 0.972`, `pruned at step 3 by hyperband: value 0.7`, `failed: ValueError: no such file`."""
    if end.state is State.PRUNED:
        return end.reason or "pruned"
    if end.state is State.FAIL:
        return f"failed: {end.reason}"
    return "complete" if end.value is None else f"complete: {end.value:.6g}"


def time_text(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def time_left(snapshot: Snapshot) -> float | None:
    """Seconds until the budget is used, from the rate so far; None while nothing can be said."""
    guesses = [] if snapshot.time_left is None else [max(snapshot.time_left, 0.0)]
    if snapshot.total is not None and snapshot.rate > 0:
        guesses.append(60.0 * (snapshot.total - sum(snapshot.counts.values())) / snapshot.rate)
    return min(guesses, default=None)
