"""A pack's traced step as machine code, made by torch's ahead-of-time compiler in a process of its own.

That takes a core for tens of seconds, so it is begun only where much is left to train, while the pack trains on, and
what was made is kept in the machine's cache: `HPO_CACHE`, or `hpo` below `XDG_CACHE_HOME` or `~/.cache`. It is found
again, by later sweeps too, under a digest of all that it hangs on: the operations with their constants, shapes,
torch, device and threads. Nothing of a user's data lies there.

    python -m hpo.training.ahead STEP PARENT    # what that process runs, for the process with that id
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule

from hpo.tasks.home import drop_unused, home, used
from hpo.training.compiled import cpp_compiler

Flat = Callable[..., Sequence[Tensor]]
"""Tensors to tensors, in one order."""

BREAK_EVEN = 60.0
"""Seconds of training ahead from which compiling pays: it takes a core for half a minute, then saves half the time."""
GAIN = 1.15  # how much faster the machine code must be
NEAR = 1e-3  # relative to the largest number of a tensor: the compiler orders sums differently
_TURNS = 8
_begun: list[subprocess.Popen[bytes]] = []  # of this process, until they have ended


class Compilation:
    """The machine code of one traced step, wherever it is: not begun, being made, made, or given up.

    over: it was taken, or will never be.
    """

    def __init__(self, step: GraphModule, given: Sequence[Tensor]) -> None:
        """given: tensors like those that it will get."""
        self._step = step
        self._like = [(tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in given]
        self._threads = torch.get_num_threads()
        self.digest = self._digest()
        self._file = home() / "steps" / f"{self.digest}.pt2"
        self.begun = self.over = False

    def _digest(self) -> str:
        found = hashlib.blake2b(digest_size=20)
        device = self._like[0][3]
        chip = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
        for part in (self._step.code, self._like, torch.__version__, chip, self._threads):
            found.update(repr(part).encode())
        for name, tensor in _constants(self._step).items():
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def begin(self) -> None:
        """Have it made, unless it is there, or cannot be; once.

        At a low priority it would never come to an end beside slots that use all cores.
        """
        if self.begun or self.over:
            return
        self.begun = True
        if cpp_compiler() is None or _gave_up(self._file).exists():
            return
        with suppress(OSError):  # a full or read-only cache: the pack trains on as it does
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            for node in self._step.graph.nodes:
                node.type = None  # an annotation's text, which cannot be read again
            self._step.recompile()
            written = io.BytesIO()  # torch.save raises no OSError where a disk is full
            torch.save((self._step, self._like, self._threads), written)
            # a name of its own: two packs of one shape, or two machines with one home, begin the same step
            handle, task = tempfile.mkstemp(".step", f"{self.digest}.", self._file.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(written.getbuffer())
            _begun[:] = [other for other in _begun if other.poll() is None]
            command = [sys.executable, "-m", __name__, task, str(os.getpid())]
            null = subprocess.DEVNULL
            _begun.append(subprocess.Popen(command, stdin=null, stdout=null, stderr=null))

    def take(self, given: Sequence[Tensor]) -> Flat | None:
        """The machine code once it is there, computes the same and is faster, tried on `given`; else None."""
        if self.over or not self._file.exists():
            return None
        self.over = True
        try:
            return self._tried(given)
        except Exception:  # made by something else, or half deleted: it is only a cache
            return None

    def _tried(self, given: Sequence[Tensor]) -> Flat | None:
        from torch._inductor import aoti_load_package

        run = cast(Flat, aoti_load_package(str(self._file)))
        with torch.no_grad():
            if not all(_near(new, old) for new, old in zip(run(*given), self._step(*given), strict=True)):
                return None
            # by turns, as a busy moment would decide for as long as the pack trains
            turns = [(_seconds(run, given), _seconds(self._step, given)) for _ in range(_TURNS)]
        ours, theirs = (min(seconds) for seconds in zip(*turns, strict=True))
        if ours * GAIN >= theirs:
            return None
        used(self._file)
        return run


def _constants(step: GraphModule) -> dict[str, Tensor]:
    """Tensors that the operations hold."""
    names = (str(node.target) for node in step.graph.nodes if node.op == "get_attr")
    return {name: getattr(step, name) for name in names}


def _near(new: Tensor, old: Tensor) -> bool:
    if not old.is_floating_point():
        return torch.equal(new, old)
    finite = old.isfinite()
    new, old = new[finite], old[finite]
    return not old.numel() or bool((new - old).abs().max() <= NEAR * old.abs().max().clamp(min=1e-6))


def _seconds(run: Flat, given: Sequence[Tensor]) -> float:
    began = time.perf_counter()
    found = run(*given)
    if found[0].device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def compile_step(task: Path) -> None:
    """Make what `Compilation.begin` wrote down, unless another process is about it; whole or not there."""
    made = task.parent / (task.name.split(".")[0] + ".pt2")
    with made.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        if made.exists() or _gave_up(made).exists():
            return
        drop_unused(made.parent)
        try:
            _make(task, made)
        except (OSError, MemoryError):  # a full disk, a short memory: not the step's fault
            raise
        except Exception as error:  # found out once
            _gave_up(made).write_text(f"{type(error).__name__}: {error}\n")
            raise


def _make(task: Path, made: Path) -> None:
    import_module("torch._higher_order_ops.triton_kernel_wrap")  # where unpickling looks
    from torch._inductor import aoti_compile_and_package

    step, like, threads = torch.load(task, weights_only=False)
    torch.set_num_threads(threads)
    given = tuple(
        torch.empty_strided(shape, stride, dtype=dtype, device=device).zero_() for shape, stride, dtype, device in like
    )
    draft = made.with_suffix(f".{os.getpid()}.pt2")
    try:
        with torch.no_grad():
            aoti_compile_and_package(torch.export.export(step, given), package_path=str(draft))
        draft.replace(made)
    finally:
        draft.unlink(missing_ok=True)


def _gave_up(made: Path) -> Path:
    """Where it says why a step cannot be compiled."""
    return made.with_suffix(".txt")


def _main(task: Path, parent: int) -> None:
    libc: Any = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):  # no process of a dead run goes on: PR_SET_PDEATHSIG
        libc.prctl(1, signal.SIGKILL)
    try:
        if os.getppid() == parent:  # it may have died before it was said so
            compile_step(task)
    finally:
        task.unlink(missing_ok=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
