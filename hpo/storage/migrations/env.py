"""What Alembic runs for every command: the own tables, and no other, on the connection it is given."""

from __future__ import annotations

from alembic import context

from hpo.storage.migrations import OPTIONS

context.configure(connection=context.config.attributes["connection"], **OPTIONS)
context.run_migrations()
