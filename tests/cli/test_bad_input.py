"""What a user can do wrong ends in one message with the place and the remedy, and nothing is lost."""

from __future__ import annotations

import csv
import os
import pickle
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from medcnn.errors import MedcnnError
from medcnn.files import digest

Command = Callable[..., Any]
FOLDERS = "{name: image_folder, positive: bright}"
PARTS = "{name: table, label: label, patient: patient, part: part}"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def require_refused(done: Any, *texts: str) -> str:
    """Exit code 2 and one message, which holds the texts and a line with what to do; returns the message."""
    assert done.code == 2, done
    assert done.err.count("error:") == 1, done.err
    assert "Traceback" not in done.err
    message = str(done.err[done.err.index("error:") :])
    for text in texts:
        assert text in message, message
    assert len(message.strip().splitlines()) > 1, f"the message does not say what to do: {message}"
    return message


def excluded(run: Path) -> list[tuple[str, str]]:
    with (run / "exclusions.csv").open(encoding="utf-8", newline="") as file:
        return [(row["case"], row["reason"]) for row in csv.DictReader(file)]


# --- recipes and data that are not there -----------------------------------------------------------------------------


def test_all_mistakes_of_a_recipe_are_listed_with_their_lines(medcnn_command: Command, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "task: classification\nsed: 3\ndata: {dataset: mednst}\ninput: {size: [16, 16]}\nmodel: basic_cnn\n"
        "training:\n  epochs: 0\n",
        encoding="utf-8",
    )
    message = require_refused(medcnn_command("run", path), "3 problems in the recipe")
    assert f"{path}:2: sed: unknown key (did you mean 'seed'?)" in message
    assert f"{path}:3: data.dataset: there is no dataset 'mednst'" in message
    assert f"{path}:7: training.epochs:" in message


def test_a_dataset_that_is_not_there_says_where_to_get_and_to_put_it(
    medcnn_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCNN_DATA", str(tmp_path / "data"))
    out = tmp_path / "run"
    done = medcnn_command("run", "body_part_multinomial", "--out", out)
    require_refused(
        done, f"{tmp_path / 'data' / 'MedNIST'}: the dataset 'mednist' is not there", "https://", "MEDCNN_DATA"
    )
    assert not out.exists()
    done = medcnn_command("run", "body_part_multinomial", f"data.root={tmp_path / 'nowhere'}", "--out", out)
    require_refused(done, f"{tmp_path / 'nowhere'}: ", "set data.root")
    # A command without a recipe has an option for it.
    done = medcnn_command("data", "audit", "mednist", "--root", tmp_path / "nowhere")
    assert "set --root" in require_refused(done, f"{tmp_path / 'nowhere'}: ")
    done = medcnn_command("data", "audit", "mednist", "--out", out)
    assert "data.root" not in require_refused(done, "set --root FOLDER", "MEDCNN_DATA")
    require_refused(medcnn_command("data", "audit", "my_dicom"), "a DICOMDIR (--root)")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "MedNIST.tar.gz").write_bytes(b"x")
    require_refused(medcnn_command("run", "body_part_multinomial", "--out", out), "unpack", "MedNIST.tar.gz")
    done = medcnn_command(
        "run", "body_part_multinomial", f"data.root={tmp_path / 'data' / 'MedNIST.tar.gz'}", "--out", out
    )
    require_refused(done, "is a file, not a folder")


def test_another_dataset_that_is_not_there_says_how_to_name_its_folder(
    finished: Path, medcnn_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCNN_DATA", str(tmp_path / "data"))
    done = medcnn_command("evaluate", finished / "run", "--data", "mednist")
    assert "data.root" not in require_refused(done, "the dataset 'mednist' is not there", "set --root FOLDER")


def test_a_root_one_folder_off_is_answered_with_the_right_one(medcnn_command: Command, tiny: Any) -> None:
    root = tiny.folders("parent/inner", 2)
    adapter = "{name: image_folder, classes: [dark, bright]}"
    for wrong in (root.parent, root / "dark"):
        done = medcnn_command("run", tiny.recipe(wrong, adapter=adapter))
        require_refused(done, "there is no class folder 'dark'", f"did you mean data.root={root}?")
    done = medcnn_command("run", tiny.recipe(root.parent, adapter="image_folder"))
    require_refused(done, f"did you mean data.root={root}?")
    table = tiny.table(name="tables/one")
    done = medcnn_command("run", tiny.recipe(table.parent))
    require_refused(done, "the table is not there", f"did you mean data.root={table}?")


def test_a_failed_run_leaves_its_name_free(
    medcnn_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCNN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert medcnn_command("run", "body_part_multinomial").code == 2
    assert not (tmp_path / "runs" / "body_part_multinomial").exists()


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "adapter", "texts"),
    [
        (None, "{name: table, label: lable}", ("there is no column 'lable', which the option label", "'label'?")),
        (None, "{name: table, label: label, file: list.csv}", ("list.csv: the table is not there", "data.root")),
        ("24.png,dark", None, ("cases.csv:26: the line has 2 entries, the heading 4", "double quotes")),
        ('"24.png,dark,p1,s1', None, ("cases.csv:26: the line is broken", "double quotes")),
        (
            "00.png,drak,p0,s0",
            "{name: table, label: label, classes: [light, dark]}",
            ("cases.csv:26: the label 'drak' is not in the schema", "did you mean 'dark'?"),
        ),
        (
            "00.png,dark,p0,s0",
            None,
            ("cases.csv:26: the image 00.png has two different labels, in lines 2 and 26", "separator"),
        ),
    ],
    ids=["column", "table", "short line", "open quote", "outside the schema", "two labels"],
)
def test_what_is_wrong_in_a_table_is_named_with_its_line(
    change: str | None, adapter: str | None, texts: tuple[str, ...], medcnn_command: Command, tiny: Any
) -> None:
    root = tiny.table([*tiny.rows(), *([change] if change else [])])
    recipe = tiny.recipe(root, **({"adapter": adapter} if adapter else {}))
    before = contents(tiny.folder)
    require_refused(medcnn_command("run", recipe, "--out", tiny.folder / "run"), *texts)
    assert contents(tiny.folder) == before
    assert not (tiny.folder / "run").exists()


def test_what_cannot_be_used_is_listed_and_the_rest_is_trained_on(medcnn_command: Command, tiny: Any) -> None:
    rows = [*tiny.rows()[:-1], "23.png,,p11,s2", "gone.png,dark,p90,s0"]
    root = tiny.table(rows)
    whole = tiny.image(root / "cut.jpg", size=64).read_bytes()
    (root / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with (root / "cases.csv").open("a", encoding="utf-8") as file:
        file.write("cut.jpg,light,p91,s0\n")
    recipe, out = tiny.recipe(root), tiny.folder / "run"
    done = medcnn_command("run", recipe, "data.max_unusable=0.2", "--out", out)
    assert done.code == 0, done.err
    found = dict(excluded(out))
    assert found["23.png"] == "no label"
    assert found["gone.png"] == "the file does not exist"
    assert "truncated" in found["cut.jpg"]
    assert f"3 of 26 images were not used: see {out / 'exclusions.csv'}" in done.out
    for setting, texts in {
        "data.on_error=stop": ("data.on_error=stop: 2 cases cannot be used", "gone.png"),
        "data.max_unusable=0.05": ("2 of 25 cases (8.0%) cannot be used", "gone.png"),
    }.items():
        refused = medcnn_command("run", recipe, setting, "--out", tiny.folder / "other")
        require_refused(refused, *texts)
        assert not (tiny.folder / "other").exists()


# --- splits ----------------------------------------------------------------------------------------------------------


def part_rows(part: Callable[[int], str], *, images_a_patient: int = 1) -> list[str]:
    return [f"{k:02d}.png,{['light', 'dark'][k % 2]},p{k // images_a_patient},{part(k)}" for k in range(24)]


@pytest.mark.parametrize(
    ("rows", "adapter", "split", "texts"),
    [
        (
            part_rows(lambda k: "train" if k % 2 == 0 and k > 7 else "test" if k % 3 else "val"),
            PARTS,
            "{by: column}",
            ("the training part has only light cases", "check the labels"),
        ),
        (
            part_rows(lambda k: ["train", "val", "test"][k % 3], images_a_patient=2),
            PARTS,
            "{by: column}",
            ("12 patient ids in more than one part: 'p0': '00.png' (training) and '01.png'", "mend the part column"),
        ),
        (
            part_rows(lambda _: "train", images_a_patient=8),
            PARTS,
            "{by: folds, folds: 5}",
            ("data.split.folds: there are fewer groups (3) than folds (5)", "use at most 3 folds"),
        ),
        (
            part_rows(lambda k: "" if k == 5 else "train"),
            PARTS,
            "{by: column}",
            ("1 of 24 cases have no part", "05.png"),
        ),
    ],
    ids=["one class", "divided patient", "few patients", "no part"],
)
def test_a_split_that_cannot_be_is_refused_before_training(
    rows: list[str], adapter: str, split: str, texts: tuple[str, ...], medcnn_command: Command, tiny: Any
) -> None:
    recipe = tiny.recipe(tiny.table(rows, header="image,label,patient,part"), adapter=adapter, split=split)
    require_refused(medcnn_command("run", recipe, "--out", tiny.folder / "run"), *texts)
    assert not (tiny.folder / "run").exists()


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished / "run", tmp_path / "copied"))


def changed_table(run: Path) -> None:
    path = run / "split.csv"
    path.write_bytes(path.read_bytes().replace(b"test", b"training", 1))


def changed_seal(run: Path) -> None:
    path = run / "split.json"
    path.write_text(path.read_text().replace(digest((run / "split.csv").read_bytes()), "0" * 64))


def both_changed(run: Path) -> None:
    before = digest((run / "split.csv").read_bytes())
    changed_table(run)
    path = run / "split.json"
    path.write_text(path.read_text().replace(before, digest((run / "split.csv").read_bytes())))


def broken_seal(run: Path) -> None:
    (run / "split.json").write_text("{")


def no_seal(run: Path) -> None:
    (run / "split.json").unlink()


@pytest.mark.parametrize("change", [changed_table, changed_seal, both_changed, broken_seal, no_seal])
def test_a_split_that_was_changed_is_refused_by_every_step(
    change: Callable[[Path], None], finished: Path, copied: Path, medcnn_command: Command
) -> None:
    change(copied)
    before = contents(copied)
    for command in (
        ("run", finished / "recipe.yaml", "--out", copied, "--resume"),
        ("train", finished / "recipe.yaml", "--out", copied, "--resume"),
        ("evaluate", copied),
        ("report", copied),
        ("predict", copied, finished / "data" / "00.png"),
    ):
        require_refused(medcnn_command(*command), "split", "restore split.csv from a copy")
    assert contents(copied) == before


# --- checkpoints and weights -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def foreign(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of another recipe on the same data."""
    import medcnn

    out = tmp_path_factory.mktemp("foreign") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDCNN_CACHE", str(tmp_path_factory.getbasetemp() / "home" / "cache"))
        medcnn.run(finished / "recipe.yaml", out=out, overrides=["model.filters=[6]"])
    return out


def test_resume_goes_on_with_its_own_recipe_alone(finished: Path, copied: Path, medcnn_command: Command) -> None:
    before = contents(copied)
    done = medcnn_command("run", finished / "recipe.yaml", "training.epochs=2", "--out", copied, "--resume")
    require_refused(done, "the folder holds a run of another recipe", "overrides")
    assert contents(copied) == before


def test_a_checkpoint_of_another_recipe_is_refused(
    finished: Path, foreign: Path, copied: Path, medcnn_command: Command
) -> None:
    for name in ("model.pt", "best.ckpt", "last.ckpt"):
        shutil.copy(foreign / "training" / name, copied / "training" / name)
    texts = ("made with another recipe", "put the run's own file back")
    require_refused(medcnn_command("predict", copied, finished / "data" / "00.png"), "model.pt", *texts)
    require_refused(medcnn_command("evaluate", copied), "model.pt", *texts)
    shutil.rmtree(copied / "training" / "predictions")
    require_refused(medcnn_command("evaluate", copied), "best.ckpt", *texts)
    (copied / "training" / "model.pt").unlink()
    done = medcnn_command("run", finished / "recipe.yaml", "--out", copied, "--resume")
    require_refused(done, "last.ckpt: the checkpoint was made with another recipe")
    assert not (copied / "training" / "model.pt").exists()
    # By itself a model serves whoever asks for it.
    assert medcnn_command("predict", foreign / "training" / "model.pt", finished / "data" / "00.png").code == 0


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_in_place_of_weights_is_never_executed(
    kind: str, finished: Path, medcnn_command: Command, tmp_path: Path
) -> None:
    trap, weights, out = tmp_path / "executed", tmp_path / "weights.pt", tmp_path / "run"
    if kind == "pickle":
        weights.write_bytes(pickle.dumps(Payload(trap)))
    else:
        torch.save({"state_dict": {"layer": Payload(trap)}}, weights)
    done = medcnn_command("run", finished / "recipe.yaml", f"model.weights={weights}", "--out", out)
    require_refused(done, f"{weights}: ", "it was not executed", "torch.save")
    assert not out.exists()
    done = medcnn_command("predict", weights, finished / "data" / "00.png")
    require_refused(done, f"{weights}: ", "more than tensors and plain values")
    assert not trap.exists()


def test_weights_that_are_missing_are_told_before_any_work(
    finished: Path, medcnn_command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = medcnn_command("run", finished / "recipe.yaml", f"model.weights={tmp_path / 'no.pt'}", "--out", out)
    require_refused(done, f"{tmp_path / 'no.pt'}: ", "model.weights")
    assert "preprocessing" not in done.err
    assert not out.exists()
    require_refused(medcnn_command("predict", tmp_path / "no.pt", finished / "data"), "no such model file")


# --- folders and files that are there --------------------------------------------------------------------------------


def test_what_is_in_the_output_folder_stays(finished: Path, medcnn_command: Command, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "cases.csv").write_text("mine")
    (taken / "photo.png").write_text("mine")
    before = contents(taken)
    recipe = finished / "recipe.yaml"
    require_refused(medcnn_command("run", recipe, "--out", taken), "exists and is not empty", "--out")
    require_refused(medcnn_command("run", recipe, "--out", taken, "--resume"), "holds no run to go on with", "--out")
    require_refused(medcnn_command("run", recipe, "--out", taken / "photo.png"), "the output folder is a file", "--out")
    predict = ("predict", finished / "run", finished / "data" / "00.png", "--out")
    require_refused(medcnn_command(*predict, taken), "is a folder", "--out FILE.csv")
    require_refused(medcnn_command(*predict, taken / "photo.png" / "x.csv"), "cannot write")
    require_refused(medcnn_command(*predict, taken / "photo.png"), "a file that is no table", "--out FILE.csv")
    assert contents(taken) == before


def test_a_folder_that_is_no_run_is_told_from_one(finished: Path, medcnn_command: Command, tmp_path: Path) -> None:
    for command in ("evaluate", "report"):
        require_refused(medcnn_command(command, tmp_path), "this is not a run folder")
        require_refused(medcnn_command(command, tmp_path / "no"), "there is no such run folder")
    require_refused(medcnn_command("predict", tmp_path, finished / "data"), "this is not a run folder")


def test_debug_shows_where_an_error_of_the_data_arose(medcnn_command: Command, tiny: Any) -> None:
    with pytest.raises(MedcnnError, match="no column"):
        medcnn_command("run", tiny.recipe(tiny.table(), adapter="{name: table, label: x}"), "--debug")


# --- text that would be HTML -----------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.handlers: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.handlers.update(name for name, value in attrs if name.startswith("on") or "javascript:" in (value or ""))


def test_markup_in_names_and_cells_does_not_run_in_the_report(medcnn_command: Command, tiny: Any) -> None:
    evil = "<evil-x onclick=alert(1)>"
    names = [f"light{evil}", f"dark</script>{evil}"]
    rows = [f'{k:02d}.png,{names[k % 2]},"p{k // 2}"">{evil}",site{k % 2}{evil},{evil}{k}' for k in range(24)] + [
        f"gone{evil}.png,{names[0]},p99,s,case{evil}"
    ]
    root = tiny.table(rows, header=f"image,label,patient,site{evil},id")
    adapter = "{name: table, label: label, patient: patient, case: id}"
    recipe = tiny.recipe(root, adapter=adapter, more=f"title: 'A title {evil}'\n")
    out = tiny.folder / "run"
    done = medcnn_command("run", recipe, "--out", out)
    assert done.code == 0, done.err
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Tags(text)
    assert "evil-x" not in page.found
    assert not page.handlers
    # What was written is shown, as text.
    assert "A title &lt;evil-x" in text
    assert "light&lt;evil-x" in text
    blocks = (out / "report.md").read_text(encoding="utf-8").split("```")
    assert not [block for block in blocks[::2] if "<evil-x" in block], "only a block of code may hold it as it is"
