"""Joining a Ray cluster that is none."""

from __future__ import annotations

import re
import socket

import pytest

from hpo.errors import UserError
from hpo.tuning import cluster


def test_nobody_at_the_address_is_said_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        said = re.escape(f"address: no Ray cluster answers at '{address}': [Errno 111] Connection refused")
        with pytest.raises(UserError, match=said):
            cluster.start(address)
    with pytest.raises(UserError, match=r"address: no Ray cluster answers at '127\.0\.0\.1:99999'"):
        cluster.start("127.0.0.1:99999")
