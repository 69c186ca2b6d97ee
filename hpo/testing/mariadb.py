"""A real MariaDB to try a storage on."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pymysql

_START_SECONDS = 60.0
_UNPACKED = Path("hpo/mariadb/usr")
# Statements that make the tables of accounts; those of help and of performance are not needed.
_SYSTEM_TABLES = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")


class MariaDBServer:
    """A MariaDB on a port of 127.0.0.1, from Debian's package `mariadb-server-core` (`bash scripts/mariadb` gets it).

    Its one user `hpo` has a password, which is in the URLs. Its data lie in a temporary folder and no configuration of
    the machine is read. Root may run it. A context manager; leaving it stops the server and deletes the folder. Commits
    outlive the death of the server, not of the machine.
    Raises RuntimeError where there is no mariadbd, or where it does not start.
    """

    def __init__(self) -> None:
        self._program, self._base = _find()
        self._folder = Path(tempfile.mkdtemp(prefix="hpo-mariadb-"))
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._password = secrets.token_hex()
        self._port = _free_port()
        (self._folder / "data").mkdir()
        accounts = [
            "DELETE FROM global_priv;",  # anybody on this machine could be root
            "FLUSH PRIVILEGES;",
            f"CREATE USER hpo@127.0.0.1 IDENTIFIED BY '{self._password}';",
            "GRANT ALL ON *.* TO hpo@127.0.0.1;",
        ]
        tables = [(self._base / "share/mysql" / name).read_text() for name in _SYSTEM_TABLES]
        script = "\n".join(["CREATE DATABASE mysql;", "USE mysql;", *tables, *accounts])
        self._popen("--bootstrap", stdin=subprocess.PIPE).communicate(script.encode())
        self.start()

    def database(self) -> str:
        """Make an empty database; gives its URL, as a plain Optuna takes it too."""
        name = f"hpo_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        return f"mysql+pymysql://hpo:{self._password}@127.0.0.1:{self._port}/{name}"

    def drop(self, url: str) -> None:
        """Delete a database of `database`, whoever is still connected."""
        self.run(f"DROP DATABASE IF EXISTS {url.rsplit('/', 1)[-1]}")

    @property
    def pid(self) -> int:
        """Of the server's one process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Shut down in order; clients are cut off."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9, so that nothing in its memory is written any more."""
        self._end(signal.SIGKILL)

    def start(self) -> None:
        """Start again after `stop` or `kill`; returns when it answers."""
        self._process = self._popen("--bind-address=127.0.0.1", f"--port={self._port}", "--skip-name-resolve")
        gives_up = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.run("SELECT 1")
                return
            except pymysql.MySQLError as error:
                if self._process.poll() is not None or time.monotonic() > gives_up:
                    raise RuntimeError(f"mariadbd does not start:\n{self._log.read_text()[-3000:]}") from error
                time.sleep(0.02)

    def run(self, *statements: str) -> None:
        """Execute statements, connected to no database."""
        connection = pymysql.connect(
            host="127.0.0.1", port=self._port, user="hpo", password=self._password, autocommit=True
        )
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()

    def _popen(self, *options: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        # unpacked below a home folder, its libraries lie beside it
        libraries = ":".join(str(folder) for folder in self._base.glob("lib/*-linux-gnu"))
        command = [
            str(self._program),
            "--no-defaults",
            f"--basedir={self._base}",
            f"--datadir={self._folder / 'data'}",
            f"--tmpdir={self._folder}",
            f"--pid-file={self._folder / 'pid'}",
            f"--socket={self._folder / 'socket'}",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            "--innodb-flush-log-at-trx-commit=2",
            "--skip-innodb-doublewrite",
            *(["--user=root"] if os.geteuid() == 0 else []),
            *options,
        ]
        environment = {**os.environ, "LD_LIBRARY_PATH": libraries} if self._base != Path("/usr") else None
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdin=stdin, stdout=log, stderr=log, env=environment)

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait()

    def __enter__(self) -> MariaDBServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)


def _free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


def _find() -> tuple[Path, Path]:
    """mariadbd, and the folder its share/ lies in."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for found in (shutil.which("mariadbd"), "/usr/sbin/mariadbd", cache / _UNPACKED / "sbin/mariadbd"):
        if found is not None and Path(found).exists():
            program = Path(found).resolve()
            return program, program.parent.parent
    raise RuntimeError("mariadbd is not installed; run  bash scripts/mariadb  once")
