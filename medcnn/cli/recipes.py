"""``medcnn recipes``, ``cp``, ``validate`` and ``schema``: recipes as files, found by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="Name of a shipped recipe (medcnn recipes), or path of a YAML file.")
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", show_default=False, help="Changes, such as training.epochs=5."),
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Let the recipe name a network in code that lies beside it.")
]


def recipes(as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False) -> None:
    """List the shipped recipes."""
    from medcnn.recipe.shelf import list_recipes

    rows = list_recipes()
    if as_json:
        import json

        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    from medcnn.cli.show import table

    table(
        ("name", "task", "title"),
        [(str(r["name"]), str(r["task"] or "suite"), str(r["title"])) for r in rows],
    )


def cp(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a shipped recipe.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy, or the folder that receives it.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it exists.")] = False,
) -> None:
    """Copy a shipped recipe, to change it."""
    from medcnn.recipe.shelf import copy_recipe

    print(copy_recipe(name, file, force=force))


def validate(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the recipe with every default written out.")
    ] = False,
    allow_code: AllowCode = False,
) -> None:
    """Check a recipe; all problems are listed at once, each with its line."""
    from medcnn.cli.checks import known_dataset, plannable
    from medcnn.recipe.load import load_members, load_recipe
    from medcnn.recipe.load import resolved as write
    from medcnn.recipe.schema import Suite

    checks = (known_dataset, plannable)
    loaded = load_recipe(recipe, overrides or (), allow_code=allow_code, checks=checks)
    if isinstance(loaded, Suite):
        members = load_members(loaded, overrides or (), allow_code=allow_code)
        if resolved:
            print("---\n".join(write(member) for member in members), end="")
            return
        print(f"{recipe}: a valid suite of {len(members)} recipes")
        return
    print(write(loaded) if resolved else f"{recipe}: a valid recipe", end="" if resolved else "\n")


def schema() -> None:
    """Print the JSON Schema of recipes, for an editor's completion and checks."""
    import json

    from medcnn.recipe.json_schema import json_schema

    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
