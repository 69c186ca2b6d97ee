"""What differs from one kind of database to the next, in one place: the rest of this room asks these facts.

A new kind is one class here and its line in `DIALECTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from hpo.errors import UserError

BUSY_SECONDS = 30.0
"""How long SQLite waits for another process's lock before a transaction is tried anew."""
CONNECT_SECONDS = 10
# A server whose machine vanished says nothing: a lock may take 50 s by MySQL's default, an answer no longer than this.
_SILENT_SECONDS = 60
# Collations that tell `a` from `A`, `ä` and `a `.
_MARIADB_EXACT, _MYSQL_EXACT = "utf8mb4_nopad_bin", "utf8mb4_0900_bin"
# the lock of whoever changes the own tables' schema; the number means nothing but must be everybody's
_SCHEMA_NUMBER, _SCHEMA_NAME = 7_236_041, "hpo:schema"


class Dialect:
    """A kind of database; what is not overridden is a server that keeps everything as it was written.

    driver: SQLAlchemy's name of dialect and driver; schemes: what a URL may begin with.
    module, extra: what is imported to reach it, and hpo's extra that installs it; None where Python has it.
    lasting: parts of messages, in small letters, of operational errors that waiting does not cure.
    longest_text: bytes that a TEXT column holds, None without a limit.
    exact: whether tables as Optuna describes them keep keys to the letter and moments to the microsecond.
    idle_seconds: how long a transaction may stand still before a server ends it. A process that was stopped in the
    midst of one holds its locks for no longer, so that another can take the study.
    """

    driver: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]
    module: ClassVar[str | None] = None
    extra: ClassVar[str | None] = None
    lasting: ClassVar[tuple[str, ...]] = ()
    longest_text: ClassVar[int | None] = None
    exact: ClassVar[bool] = True
    idle_seconds: ClassVar[int] = 10

    def options(self) -> dict[str, Any]:
        """Keywords of `create_engine` for an engine that anybody may use."""
        return {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS}}

    def reader(self, url: sa.URL) -> sa.Engine:
        """An engine whose every transaction sees one state of the database."""
        return sa.create_engine(url, isolation_level="REPEATABLE READ", **self.options())

    def looker(self, url: sa.URL) -> sa.Engine:
        """As `reader`, without a pool, and changing nothing of the database."""
        return sa.create_engine(url, isolation_level="REPEATABLE READ", poolclass=sa.NullPool, **self.options())

    def writer(self, url: sa.URL) -> sa.Engine:
        """An engine with one connection. It does not ping: what fails is tried anew by the writer.

        Each statement sees what was committed before it, so that what is read under a lock is not older than the lock.
        """
        options = {**self.options(), "pool_pre_ping": False}
        engine = sa.create_engine(url, isolation_level="READ COMMITTED", pool_size=1, max_overflow=0, **options)
        sa.event.listen(engine, "connect", lambda connection, _: self.connected(connection))
        return engine

    def connected(self, connection: Any) -> None:
        """Called with the driver's own connection for each new one of `writer`."""

    def before_begin(self, connection: sa.Connection, durable: bool) -> None:
        """Called with a connection of `writer` outside a transaction; durable: its commit waits for the disk."""

    def after_begin(self, connection: sa.Connection, durable: bool) -> None:
        """As `before_begin`, at the beginning of the transaction."""

    def hold_schema(self, connection: sa.Connection) -> None:
        """Wait until no other process changes the own tables' schema, and keep others from it in this transaction."""

    def let_schema_go(self, connection: sa.Connection) -> None:
        """Called before the end of the transaction that holds it."""

    def make_exact(self, table: sa.Table, connection: sa.Connection) -> None:
        """Change the description of a table so that it is; for kinds that are not by themselves."""

    def is_exact(self, _connection: sa.Connection) -> bool:
        """Whether Optuna's tables, which somebody else may have made, are."""
        return self.exact

    def upsert(self, table: sa.Table, keys: Sequence[str], values: Sequence[str]) -> sa.Insert:
        """Insert rows of these columns, or overwrite `values` of those that have the same `keys`."""
        raise NotImplementedError

    def ids_were_given(self, connection: sa.Connection, column: sa.Column[Any]) -> None:
        """Called after rows were inserted with ids of our choice: the database's own next one must be greater."""

    def check(self, row: Mapping[str, Any]) -> None:
        """Raises ValueError for a row that the database would refuse, and a whole batch with it."""
        if self.longest_text is None:
            return
        for value in row.values():
            if isinstance(value, str) and len(value.encode()) > self.longest_text:
                name = row.get("key") or row.get("param_name")
                raise ValueError(
                    f"{name!r} is {len(value.encode()):,} bytes as JSON; {self.schemes[0]} holds {self.longest_text:,}"
                )


class SQLite(Dialect):
    """A file, in the write-ahead log, under which readers never wait."""

    driver = "sqlite"
    schemes = ("sqlite",)
    lasting = ("no such table", "no such column", "readonly database", "no column named")

    def options(self) -> dict[str, Any]:
        return {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}

    def reader(self, url: sa.URL) -> sa.Engine:
        return self._engine(url, "BEGIN", self._log_ahead)

    def looker(self, url: sa.URL) -> sa.Engine:
        return self._engine(url, "BEGIN", self._begin_ourselves, poolclass=sa.NullPool)

    def writer(self, url: sa.URL) -> sa.Engine:
        return self._engine(url, "BEGIN IMMEDIATE", self._log_ahead, pool_size=1, max_overflow=0)

    def _engine(self, url: sa.URL, begin: str, connected: Callable[[Any], None], **options: Any) -> sa.Engine:
        engine = sa.create_engine(url, **self.options(), **options)
        sa.event.listen(engine, "connect", lambda connection, _: connected(connection))
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine

    def _begin_ourselves(self, connection: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late for a snapshot

    def _log_ahead(self, connection: Any) -> None:
        self._begin_ourselves(connection)
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            file = connection.execute("PRAGMA database_list").fetchone()[2]
            raise UserError(
                f"storage: {file!r} cannot have SQLite's write-ahead log (its journal mode stays {mode!r}); "
                "use another path or postgresql://user@host/database"
            )
        connection.execute("PRAGMA synchronous=NORMAL")

    def before_begin(self, connection: sa.Connection, durable: bool) -> None:
        level = "FULL" if durable else "NORMAL"
        if connection.info.get("synchronous") != level:
            raw: Any = connection.connection.dbapi_connection
            raw.execute(f"PRAGMA synchronous={level}")
            connection.info["synchronous"] = level

    def upsert(self, table: sa.Table, keys: Sequence[str], values: Sequence[str]) -> sa.Insert:
        return _on_conflict(sqlite.insert(table), keys, values)


class PostgreSQL(Dialect):
    """By psycopg 3."""

    driver = "postgresql+psycopg"
    schemes = ("postgresql", "postgres", "postgresql+psycopg")
    module, extra = "psycopg", "postgres"

    def options(self) -> dict[str, Any]:
        # a silent server is given up after 50 s, what was sent and not received by then after 60
        watch = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3}
        watch["tcp_user_timeout"] = 1000 * _SILENT_SECONDS
        return {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS, **watch}}

    def connected(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION synchronous_commit TO off")
            cursor.execute(f"SET SESSION idle_in_transaction_session_timeout TO '{self.idle_seconds}s'")
        connection.commit()

    def after_begin(self, connection: sa.Connection, durable: bool) -> None:
        if durable:
            connection.exec_driver_sql("SET LOCAL synchronous_commit TO on")

    def hold_schema(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_NUMBER})")

    def upsert(self, table: sa.Table, keys: Sequence[str], values: Sequence[str]) -> sa.Insert:
        return _on_conflict(postgresql.insert(table), keys, values)

    def ids_were_given(self, connection: sa.Connection, column: sa.Column[Any]) -> None:
        sequence = sa.func.pg_get_serial_sequence(column.table.name, column.name)
        highest = sa.select(sa.func.max(column)).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(sequence, sa.func.greatest(highest, sa.func.nextval(sequence)))))


class MySQL(Dialect):
    """MySQL and MariaDB by PyMySQL. Whether a commit waits for the disk is one setting of the whole server there."""

    driver = "mysql+pymysql"
    schemes = ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql")
    module, extra = "pymysql", "mysql"
    lasting = ("unknown column", "command denied")
    longest_text = 2**16 - 1
    exact = False

    def options(self) -> dict[str, Any]:
        # a lenient server would cut what is too long, and say nothing
        strict = "SET SESSION sql_mode = CONCAT_WS(',', NULLIF(@@sql_mode, ''), 'STRICT_TRANS_TABLES')"
        arguments = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": _SILENT_SECONDS,
            "write_timeout": _SILENT_SECONDS,
            "init_command": strict,
        }
        # a connection that was idle for `wait_timeout` is closed by the server
        return {"pool_pre_ping": True, "connect_args": arguments}

    def connected(self, connection: Any) -> None:
        mariadb = "mariadb" in connection.get_server_info().lower()
        # MySQL knows only one for the whole connection: the writer connects anew when it has rested for so long
        setting = "idle_transaction_timeout" if mariadb else "wait_timeout"
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {setting} = {self.idle_seconds}")

    def hold_schema(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT GET_LOCK('{_SCHEMA_NAME}', {_SILENT_SECONDS - 10})")

    def let_schema_go(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT RELEASE_LOCK('{_SCHEMA_NAME}')")

    def make_exact(self, table: sa.Table, connection: sa.Connection) -> None:
        dialect: Any = connection.dialect
        collation = _MARIADB_EXACT if dialect.is_mariadb else _MYSQL_EXACT
        table.kwargs.update(mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate=collation)
        for column in table.columns:
            if isinstance(column.type, sa.DateTime):
                column.type = mysql.DATETIME(fsp=6)

    def is_exact(self, connection: sa.Connection) -> bool:
        query = (
            "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND ("
            "table_name = 'trials' AND column_name = 'datetime_start' AND datetime_precision = 6 OR "
            "table_name = 'trial_params' AND column_name = 'param_name' AND collation_name IN (:mariadb, :mysql) OR "
            "table_name = 'study_user_attributes' AND column_name = 'key' AND collation_name IN (:mariadb, :mysql))"
        )
        found = connection.execute(sa.text(query), {"mariadb": _MARIADB_EXACT, "mysql": _MYSQL_EXACT})
        return bool(found.scalar_one() == 3)

    def upsert(self, table: sa.Table, keys: Sequence[str], values: Sequence[str]) -> sa.Insert:
        statement = mysql.insert(table).values({column: sa.bindparam(column) for column in (*keys, *values)})
        return statement.on_duplicate_key_update({column: statement.inserted[column] for column in values})


def _on_conflict(insert: Any, keys: Sequence[str], values: Sequence[str]) -> sa.Insert:
    statement = insert.values({column: sa.bindparam(column) for column in (*keys, *values)})
    overwritten = {column: statement.excluded[column] for column in values}
    done: sa.Insert = statement.on_conflict_do_update(index_elements=list(keys), set_=overwritten)
    return done


DIALECTS: dict[str, Dialect] = {dialect.schemes[0]: dialect for dialect in (SQLite(), PostgreSQL(), MySQL())}
"""By SQLAlchemy's name of the dialect."""

SCHEMES = {scheme: dialect for dialect in DIALECTS.values() for scheme in dialect.schemes}
"""What a storage URL may begin with."""


def dialect_of(connection: sa.Connection | sa.Engine) -> Dialect:
    """The kind of database at the other end."""
    return DIALECTS[connection.dialect.name]
