"""Which box each part of a mask belongs to."""

from __future__ import annotations

import numpy as np
import pytest

from medcnn.data.labels.derive import boxes_of
from medcnn.data.labels.instances import instances_of
from medcnn.types import Boxes, LabelClass, LabelSchema

TUMOUR = LabelSchema((LabelClass(1, "tumour"),))


def boxes(*corners: list[float]) -> Boxes:
    return Boxes(np.array(corners, np.float32), np.zeros(len(corners), np.int64))


def test_each_component_goes_to_its_own_box() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:5, 2:5] = mask[10:16, 10:14] = 1
    found = instances_of(mask, TUMOUR, boxes([10, 10, 16, 14], [2, 2, 5, 5]))
    assert found[3, 3] == 2
    assert found[12, 12] == 1
    assert ((found > 0) == (mask > 0)).all()


def test_several_components_may_share_a_box_and_the_smallest_takes_what_it_holds() -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[2:4, 2:4] = mask[8:10, 8:10] = mask[20:22, 20:22] = 1
    found = instances_of(mask, TUMOUR, boxes([0, 0, 30, 30], [1, 1, 11, 11]))
    assert (found[3, 3], found[9, 9], found[21, 21]) == (2, 2, 1)


def test_what_lies_in_no_box_and_what_is_not_annotated_belongs_to_none() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[1:3, 1:3], mask[6:8, 6:8] = 1, 255
    none = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    for own in (boxes([5, 5, 9, 9]), none):
        found = instances_of(mask, TUMOUR, own)
        assert (found[6:8, 6:8] == 255).all()
        assert not found[mask != 255].any()


@pytest.mark.parametrize("seed", range(5))
def test_derived_boxes_are_the_extents_of_their_instances(seed: int) -> None:
    mask = (np.random.default_rng(seed).random((14, 12, 10)) < 0.02).astype(np.uint8)
    derived = boxes_of(mask, TUMOUR)
    found = instances_of(mask, TUMOUR, derived)
    for number, corners in enumerate(derived.corners, 1):
        places = np.argwhere(found == number)
        extent = [*places.min(0), *(places.max(0) + 1)]
        assert extent == corners.tolist()


def test_overlapping_labels_are_one_map_of_instances() -> None:
    schema = LabelSchema((LabelClass(1, "organ"), LabelClass(2, "lesion")), multilabel=True)
    mask = np.zeros((2, 10, 10), np.uint8)
    mask[0, 1:4, 1:4] = mask[1, 6:8, 6:8] = 1
    found = instances_of(mask, schema, boxes([1, 1, 4, 4], [6, 6, 8, 8]))
    assert found.shape == (10, 10)
    assert (found[2, 2], found[7, 7]) == (1, 2)


@pytest.mark.parametrize("multilabel", [False, True])
def test_labels_that_touch_are_two_instances(multilabel: bool) -> None:
    schema = LabelSchema((LabelClass(1, "a"), LabelClass(2, "b")), multilabel=multilabel)
    mask = np.zeros((30, 30), np.uint8)
    mask[8:14, 8:16], mask[14:26, 8:24] = 1, 2
    labels = np.stack([mask == 1, mask == 2]).astype(np.uint8) if multilabel else mask
    derived = boxes_of(labels, schema)
    assert derived.corners.tolist() == [[8, 8, 14, 16], [14, 8, 26, 24]]
    np.testing.assert_array_equal(instances_of(labels, schema, derived), mask)


def test_the_smaller_of_overlapping_labels_is_on_top() -> None:
    schema = LabelSchema((LabelClass(1, "lesion"), LabelClass(2, "organ")), multilabel=True)
    labels = np.zeros((2, 10, 10), np.uint8)
    labels[0, 4:6, 4:6] = labels[1, 2:8, 2:8] = 1
    found = instances_of(labels, schema, boxes_of(labels, schema))
    assert (found == 1).sum() == 4
    assert (found == 2).sum() == 32
