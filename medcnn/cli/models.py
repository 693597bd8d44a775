"""``medcnn models``: networks by name, and the layers of a recipe's network."""

from __future__ import annotations

import typer

from medcnn.cli.recipes import AllowCode, OverridesArgument, RecipeArgument

app = typer.Typer(help="Networks by name; the layers of a recipe's network.", invoke_without_command=True)


@app.callback()
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@app.command("list")
def list_models() -> None:
    """List the networks that a recipe can name, with their options."""
    from medcnn import registry
    from medcnn.cli.show import table
    from medcnn.errors import MedcnnError
    from medcnn.recipe.options import COMMON, options_model

    common = [argument.name for argument in COMMON["networks"]]
    rows = []
    for name in registry.names("networks"):
        try:
            model = options_model("networks", name)
        except MedcnnError as error:
            rows.append((name, f"cannot be used: {error.what}", ""))
            continue
        options = [field.alias or key for key, field in model.model_fields.items()]
        rows.append((name, model.__doc__ or "", ", ".join(o for o in options if o not in common)))
    table(("name", "what it is", "options"), rows)
    print(f"\nevery network: {', '.join(common)}; or module:Class of a package of yours")


@app.command()
def describe(recipe: RecipeArgument, overrides: OverridesArgument = None, allow_code: AllowCode = False) -> None:
    """Show the layers of a recipe's network: output, parameters, stride and receptive field."""
    from medcnn.recipe.load import load_recipe

    load_recipe(recipe, overrides or (), allow_code=allow_code)
    from medcnn import api
    from medcnn.cli.show import table
    from medcnn.models.describe import HEADINGS

    layers = api.describe(recipe, overrides or (), allow_code=allow_code)
    table(HEADINGS, [layer.cells() for layer in layers], right=(3, 4, 5, 6))
    print(f"{sum(layer.parameters for layer in layers):,} parameters in {len(layers)} layers")
