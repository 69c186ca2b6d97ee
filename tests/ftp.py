"""A store that is a server: FTP on this machine, in a process of its own that can be stopped and started again."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

STARTED_WITHIN = 20.0  # seconds


class FtpServer:
    """Serves a folder at `url` (user and password in it) while it runs; a context manager."""

    user = "me"
    password = "secret-7f3a"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ftp://{self.user}:{self.password}@127.0.0.1:{self.port}"

    @property
    def shown(self) -> str:
        """`url` as it may be printed."""
        return self.url.replace(self.password, "***")

    @property
    def pid(self) -> int:
        """Of its process while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Serve; returns once it answers."""
        self.stop()
        place = ["-i", "127.0.0.1", "-p", str(self.port), "-d", str(self.folder)]
        login = ["-w", "-u", self.user, "-P", self.password]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pyftpdlib", *place, *login], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                    if connection.recv(3) == b"220":
                        return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the FTP server did not start")

    def stop(self) -> None:
        """Kill it: its connections break."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> FtpServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
