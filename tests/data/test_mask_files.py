"""Names of files that are written: told apart, whatever they are called."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from medcnn.data.mask_files import short_stems, told_apart


def test_names_that_stand_again_are_numbered() -> None:
    assert told_apart(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]


def test_a_number_makes_no_name_that_is_there() -> None:
    assert told_apart(["a", "a", "a-2", "a"]) == ["a", "a-3", "a-2", "a-4"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "a-2", "a-3", "b", "a-2-2"]), max_size=12))
def test_all_are_different_and_the_first_of_each_keeps_its_name(names: list[str]) -> None:
    found = told_apart(names)
    assert len(set(found)) == len(names)
    assert all(found[names.index(name)] == name for name in names)


def test_as_many_folders_as_tell_files_apart() -> None:
    assert short_stems(["p/1/scan.dcm", "p/2/scan.dcm", "q/mask.nii.gz"]) == ["1_scan", "2_scan", "mask"]
