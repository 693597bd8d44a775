"""The commands, assembled. Each imports what it needs when it is called, so that ``--help`` stays quick."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medcnn.cli import convert, data, doctor, models, recipes, steps


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The user pressed Ctrl-C."""


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        # The framework would turn Ctrl-C into an exit code of its own; we tell how to resume.
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error
        except SystemExit as end:
            # The trainer shuts down in order on Ctrl-C and then exits by itself.
            if isinstance(end.__context__, KeyboardInterrupt):
                raise Interrupted from end
            raise


app = typer.Typer(
    name="medcnn",
    cls=_Group,
    help="Train, evaluate and report CNNs on radiology images, from one recipe.",
    epilog="Start with: medcnn run quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from medcnn import __version__

        typer.echo(f"medcnn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the libraries' messages.")] = False,
) -> None:
    """Options of the command itself; ``--debug`` is taken out before, since it may stand anywhere."""


_RECIPES, _STEPS, _OTHERS = "Recipes", "Steps", "More"

app.command("recipes", rich_help_panel=_RECIPES)(recipes.recipes)
app.command("cp", rich_help_panel=_RECIPES)(recipes.cp)
app.command("validate", rich_help_panel=_RECIPES)(recipes.validate)
app.command("schema", rich_help_panel=_RECIPES)(recipes.schema)
app.command("run", rich_help_panel=_STEPS)(steps.run)
app.command("train", rich_help_panel=_STEPS)(steps.train)
app.command("evaluate", rich_help_panel=_STEPS)(steps.evaluate)
app.command("predict", rich_help_panel=_STEPS)(steps.predict)
app.command("report", rich_help_panel=_STEPS)(steps.report)
app.command("convert", rich_help_panel=_OTHERS)(convert.convert)
app.add_typer(data.app, name="data", rich_help_panel=_OTHERS)
app.add_typer(models.app, name="models", rich_help_panel=_OTHERS)
app.command("doctor", rich_help_panel=_OTHERS)(doctor.doctor)
