"""The stock Optuna dashboard on a study's database, for this machine only."""

from __future__ import annotations

from collections.abc import Callable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from hpo.errors import NotFound, UserError
from hpo.studies import reading


def serve(storage: str | None, port: int, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C, which is its normal end. port 0 takes a free one; the address is said once it listens.

    Raises NotFound when there is no database or no study in it, UserError when the port is taken.
    """
    import optuna_dashboard

    with reading(storage) as found:
        if not found.study_names():
            raise NotFound(f"no studies in {found.place}", hint="hpo launch makes one")
        try:
            server = make_server("127.0.0.1", port, optuna_dashboard.wsgi(found.optuna), _Server, _Silent)
        except OSError as error:
            hint = "--port 0 takes a free one"
            raise UserError(f"--port: {port} cannot be used: {error.strerror}", hint=hint) from None
        with server:
            say(f"dashboard of {found.place} at http://127.0.0.1:{server.server_port}/dashboard (Ctrl-C ends it)")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                say("dashboard stopped")


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection: browsers open some ahead that say nothing, and reading a large study takes long."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests are nobody's news."""
