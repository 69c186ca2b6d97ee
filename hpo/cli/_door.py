"""The one place where an error becomes text and an exit code."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from hpo.errors import HpoError, mask


class Door(TyperGroup):
    """Catches our own errors around every command; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit 2 on bad input, 1 on a failed sweep, 130 on interrupt."""
        try:
            return super().invoke(ctx)
        except HpoError as error:
            typer.echo(f"error: {mask(str(error))}", err=True)
            if error.hint:
                typer.echo(f"\nhint: {mask(error.hint)}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise typer.Exit(0) from None
