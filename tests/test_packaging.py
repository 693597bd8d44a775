"""Wheel, sdist and editable install: each finds the shipped recipes and the catalog."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("LICENSE", "README.md", "datasets.yaml", "recipes/quickstart.yaml")

# Prints where the package, its recipes and its catalog are; fails where one of the recipes is not valid.
PROBE = """
import medcnn
from medcnn.data.catalog import load_catalog
from medcnn.recipe.load import load_recipe, recipe_names
from medcnn.resources import catalog_file, recipes_folder
print(medcnn.__file__, recipes_folder(), catalog_file(), sep="\\n")
assert len(recipe_names()) > 0 and len(load_catalog()) > 0
for name in recipe_names():
    load_recipe(name)
"""

pytestmark = pytest.mark.slow


def call(*command: str, cwd: Path, path: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines(text: str) -> list[Path]:
    return [Path(line) for line in text.splitlines()[:3]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, the wheel made from the sdist."""
    for tool in ("build", "hatchling"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed")
    for name in NEEDED:
        assert (ROOT / name).is_file(), f"{name} is missing from the source tree"
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    return folder


def test_the_wheel_holds_recipes_catalog_licence_and_type_marker(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    shipped = {p.name for p in (ROOT / "recipes").glob("*.yaml")}
    assert {Path(n).name for n in names if n.startswith("medcnn/resources/recipes/")} == shipped
    assert "medcnn/resources/datasets.yaml" in names
    assert "medcnn/py.typed" in names
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert not any(n.startswith(("tests/", "docs/", "recipes/")) for n in names)


def test_the_sdist_holds_what_tests_and_docs_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {n.partition("/")[2] for n in file.getnames()}
    assert {*NEEDED, "pyproject.toml", "medcnn/py.typed", "tests/conftest.py"} <= names
    assert not any(n.startswith(("runs/", ".git/")) or n.endswith(".pyc") for n in names)


def test_an_installed_wheel_finds_its_own_recipes_and_catalog(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    target = tmp_path / "site"
    call(sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(target), str(wheel), cwd=tmp_path)
    package, recipes, catalog = lines(call(sys.executable, "-c", PROBE, cwd=tmp_path, path=target))
    assert package == target / "medcnn" / "__init__.py"
    assert recipes == target / "medcnn" / "resources" / "recipes"
    assert catalog == target / "medcnn" / "resources" / "datasets.yaml"
    script = target / "bin" / "medcnn"
    assert script.is_file()
    assert "medcnn 0" in call(sys.executable, str(script), "--version", cwd=tmp_path, path=target)


def test_an_editable_install_finds_those_of_the_source_tree(built: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    call(
        *(sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--target", str(target)),
        *("-e", str(ROOT)),
        cwd=tmp_path,
    )
    # Only a site folder's .pth files are heeded, and an editable install is one.
    code = f"import site; site.addsitedir({str(target)!r}); exec({PROBE!r})"
    package, recipes, catalog = lines(call(sys.executable, "-c", code, cwd=tmp_path))
    assert package == ROOT / "medcnn" / "__init__.py"
    assert recipes == ROOT / "recipes"
    assert catalog == ROOT / "datasets.yaml"
