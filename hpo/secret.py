"""A secret that the environment gives: a variable, or the file that another one names. It is never printed."""

from __future__ import annotations

import os
from pathlib import Path

from hpo.errors import UserError


def secret(name: str, key: str = "") -> str | None:
    """What the variable `name` holds, or the file that `name`_FILE names without the newline at its end; None: neither.

    key: the key it belongs to, put in front of the sentence. Raises UserError for a file that cannot be read.
    """
    if name in os.environ:
        return os.environ[name]
    file = os.environ.get(f"{name}_FILE")
    if not file:
        return None
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        where = f"{key}: " if key else ""
        raise UserError(f"{where}{name}_FILE names {file!r}, which cannot be read: {reason}") from None
