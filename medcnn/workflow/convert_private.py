"""What a pseudonymised conversion keeps to itself: the key, the map, and which file came from what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from medcnn.data.images.side_file import without_persons
from medcnn.errors import RunError
from medcnn.files import explain
from medcnn.report.privacy import OLDEST, POOLED
from medcnn.report.pseudonyms import FILE_NAME, Pseudonyms

METHOD = "medcnn convert --pseudonymise"


class Private:
    """A folder beside the converted files with the key and the map of pseudonyms, its owner's alone.

    Args:
        folder: A map that is there gives the same pseudonyms again.

    Raises:
        RunError: If the map that is there is not one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = Pseudonyms(folder)

    def patient(self, owner: str) -> str:
        """The pseudonym of a patient."""
        return self._names.name("patient", owner)

    def study(self, study: str) -> str:
        """The pseudonym of a study."""
        return self._names.name("case", study)

    def save(self) -> None:
        """Write the map, before the first file whose name it explains, into a folder of mode 700.

        Raises:
            RunError: If that cannot be done.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.chmod(self.folder, 0o700)
        except OSError as error:
            raise explain(error, self.folder) from error
        self._names.save()

    def side(self, values: dict[str, Any], owner: str, study: str) -> dict[str, Any]:
        """The fields of a side file that may be told, with pseudonyms for the patient and the study."""
        found = without_persons(values)
        if isinstance(age := found.get("PatientAge"), (int, float)) and age > OLDEST:
            found["PatientAge"] = POOLED
        return {
            **found,
            "PatientID": self.patient(owner),
            "StudyID": self.study(study),
            "PatientIdentityRemoved": "YES",
            "DeidentificationMethod": METHOD,
        }


def holds_map(folder: Path) -> bool:
    """Whether a folder has a map of pseudonyms."""
    return (folder / FILE_NAME).is_file()


def private_folder(out: Path) -> Path:
    """Where the key and the map lie by default: beside the converted files, not among them."""
    whole = Path(os.path.abspath(out))
    return whole.with_name(f"{whole.name}-private")


def require_apart(out: Path, private: Path) -> None:
    """Raise where the map would lie among what is given away.

    Raises:
        RunError: If the one folder is inside the other's files.
    """
    if Path(os.path.realpath(private)).is_relative_to(os.path.realpath(out)):
        raise RunError(
            "the key and the map of pseudonyms may not lie among the converted files",
            where=str(private),
            todo="choose another folder with --private",
        )
