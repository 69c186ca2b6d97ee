"""The error tree, and the one way an error sentence is built.

HpoError                      anything hpo raises on purpose; `exit_code` is what the command line returns
├── UserError        (2)      bad input: one sentence naming the key, what was found, what is allowed
│   ├── NotFound     (2)      a study, trial, entry or file that does not exist
│   └── Refused      (2)      valid input that must not be done now (a study is running, a spec differs)
├── NotReproduced    (1)      training an export again gave another number
├── SweepFailed      (1)      the sweep ran and cannot go on
└── Interrupted    (130)      a signal ended the run; the study can be resumed
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class HpoError(Exception):
    """Root of the tree. `hint` is printed below the sentence; `exit_code` is the command line's."""

    exit_code = 1

    def __init__(self, sentence: str, hint: str | None = None) -> None:
        super().__init__(sentence)
        self.hint = hint

    def __reduce__(self) -> tuple[type[HpoError], tuple[str, str | None]]:
        return type(self), (str(self), self.hint)


class UserError(HpoError):
    """Bad input: nothing was written, nothing was started."""

    exit_code = 2


class NotFound(UserError):
    """Something was named that does not exist."""


class Refused(UserError):
    """The input is valid but must not be acted on now."""


class NotReproduced(HpoError):
    """An exported configuration was trained again and gave another number than the recorded one."""


class SweepFailed(HpoError):
    """The sweep started and cannot go on; what it finished is in the study."""


class Interrupted(HpoError):
    """A signal ended the run; trials in flight were put back."""

    exit_code = 130


def nearest(name: object, allowed: Iterable[object]) -> str | None:
    """The allowed name that was probably meant by `name`, or None when nothing is close.

    Near are: a few letters' difference, swapped letters, a name cut short, what a name abbreviates (`lr` for
    `learning_rate`), and the last part of a dotted path without or with another section (`lr` for `optimizer.lr`).
    """
    known = [str(item) for item in allowed]
    section, _, last = str(name).rpartition(".")
    beside = {item.rpartition(".")[2]: item for item in known if item.rpartition(".")[0] == section}
    found = _close(last, beside)
    if found is not None:
        return beside[found]
    # in a section that exists, a whole path is near to all of its paths
    if not (section and beside):
        found = _close(str(name), known)
        if found is not None:
            return found
    tails = [item.rpartition(".")[2] for item in known]
    found = _close(last, tails)
    return known[tails.index(found)] if found is not None and tails.count(found) == 1 else None


def _close(word: str, known: Iterable[str]) -> str | None:
    plain = {_plain(item): item for item in known}
    wanted = _plain(word)
    # difflib's own threshold of 0.6 calls `pack` near to `space`
    for candidate in difflib.get_close_matches(wanted, plain, 1, 0.7):
        return plain[candidate]
    initials = "".join(part[:1] for part in wanted.split("_"))
    for candidate, item in plain.items():
        begun = len(wanted) > 2 and candidate.startswith(wanted)
        if begun or sorted(candidate) == sorted(wanted) or (len(initials) > 1 and candidate == initials):
            return item
    return None


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_").strip()


def unknown(key: str, noun: str, found: object, allowed: Iterable[object]) -> UserError:
    """`sampler: unknown sampler 'tpee'; did you mean 'tpe'? (allowed: cmaes, gp, ...)`."""
    return UserError(f"{key}: {unknown_text(noun, found, allowed)}" if key else unknown_text(noun, found, allowed))


def unknown_text(noun: str, found: object, allowed: Iterable[object]) -> str:
    """The sentence of `unknown` without its key."""
    names = sorted(map(str, allowed))
    near = nearest(found, names)
    question = f"; did you mean {near!r}?" if near else ";"
    listed = ", ".join(names) if len(names) <= 24 else ", ".join(names[:24]) + ", ..."
    return f"unknown {noun} {found!r}{question} (allowed: {listed})"


# to the last @ of the word: a password may hold one that was not written as %40
_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.\-]*://[^:/@\s]*):\S+@", re.IGNORECASE)
_QUERY_PASSWORD = re.compile(r"(?P<head>[?&][^=&\s]*(?:passw(?:or)?d|token|secret)[^=&\s]*)=[^&\s'\"]+", re.IGNORECASE)


def mask(text: str) -> str:
    """`text` with the password of every URL in it replaced by ***; for anything that is printed."""
    return _QUERY_PASSWORD.sub(r"\g<head>=***", _URL_PASSWORD.sub(r"\g<head>:***@", text))


def one_line(error: BaseException) -> str:
    """An error as one line of at most 500 characters, without passwords."""
    text = mask(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__
