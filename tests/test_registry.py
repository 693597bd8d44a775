"""Components by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from medcnn import registry
from medcnn.errors import MedcnnError


def plug_in(folder: Path, name: str, kind: str, value: str) -> None:
    """An installed distribution with one entry point."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[medcnn.{kind}]\n{name} = {value}\n", encoding="utf-8")


@pytest.mark.parametrize("kind", list(registry._BUILT_IN))
def test_everything_built_in_can_be_loaded(kind: registry.Kind) -> None:
    assert registry._BUILT_IN[kind]
    for name in registry._BUILT_IN[kind]:
        assert callable(registry.load(kind, name))


def test_an_entry_point_is_found_like_a_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(tmp_path, "plugged_net", "networks", "plugged_net_module:build")
    (tmp_path / "plugged_net_module.py").write_text("def build(): return 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "plugged_net" in registry.names("networks")
    assert registry.load("networks", "plugged_net")() == 3


def test_a_broken_plug_in_fails_only_when_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(tmp_path, "broken_net", "networks", "broken_net_module:build")
    (tmp_path / "broken_net_module.py").write_text("raise RuntimeError('no licence')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "broken_net" in registry.names("networks")
    assert registry.load("networks", "small_resnet")
    with pytest.raises(MedcnnError, match="no licence"):
        registry.load("networks", "broken_net")


def test_a_plug_in_does_not_replace_a_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(tmp_path, "densenet", "networks", "os:getcwd")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.target("networks", "densenet") == "medcnn.models.builders:densenet"


def test_unknown_names_are_answered_with_the_nearest_or_all() -> None:
    with pytest.raises(MedcnnError, match="did you mean 'densenet'"):
        registry.load("networks", "densnet")
    with pytest.raises(MedcnnError, match=r"known: .*basic_cnn, .*densenet"):
        registry.load("networks", "zzz")


def test_code_in_the_working_folder_needs_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net_in_folder.py").write_text("def build(): return 5\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    with pytest.raises(MedcnnError, match="not an installed package"):
        registry.load("networks", "net_in_folder:build")
    assert "net_in_folder" not in sys.modules
    assert registry.load("networks", "net_in_folder:build", allow_code=tmp_path)() == 5


def test_an_editable_package_in_the_working_folder_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, site = tmp_path / "project", tmp_path / "site"
    project.mkdir()
    (project / "net_editable.py").write_text("def build(): return 7\n", encoding="utf-8")
    plug_in(site, "net_editable_project", "unused", "x:y")
    (next(site.iterdir()) / "direct_url.json").write_text(
        json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}), encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.chdir(project)
    assert registry.load("networks", "net_editable:build")() == 7


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "builtins:eval"])
def test_parts_of_python_are_no_components(name: str) -> None:
    with pytest.raises(MedcnnError, match="part of Python"):
        registry.load("networks", name)


def test_a_missing_attribute_of_a_package_is_named() -> None:
    with pytest.raises(MedcnnError, match="NoSuchNet"):
        registry.load("networks", "yaml:NoSuchNet")
