"""The stock Optuna dashboard on a study's database, for this machine only."""

from __future__ import annotations

from collections.abc import Callable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from hpo.errors import NotFound, UserError
from hpo.studies import choose_storage


def serve(storage: str | None, port: int, say: Callable[[str], None]) -> None:
    """Serve until interrupted. port 0 takes a free one; the address is said once it listens.

    Raises NotFound when the database does not exist, UserError when the port is taken.
    """
    import optuna_dashboard

    from hpo.storage import open_storage

    url, _ = choose_storage(storage)
    with open_storage(url) as opened_storage:
        if not opened_storage.study_names():
            raise NotFound(f"no studies in {opened_storage.place}", hint="hpo launch makes one")
        application = optuna_dashboard.wsgi(opened_storage.optuna)
        try:
            server = make_server("127.0.0.1", port, application, _Server, _Silent)
        except OSError as error:
            raise UserError(f"--port: {port} cannot be used: {error.strerror}") from None
        with server:
            say(
                f"dashboard of {opened_storage.place} at http://127.0.0.1:{server.server_port}/dashboard (Ctrl-C ends it)"
            )
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                say("dashboard stopped")


class _Server(WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests are nobody's news."""
