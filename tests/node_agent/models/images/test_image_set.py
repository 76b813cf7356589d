"""An image set refuses arrays that do not fit each other; importing and reading need no torch."""

import subprocess
import sys

import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.models.images import ImageSet
from node_agent.models.images.image_set import (
    MOST_CLASSES,
    MOST_IMAGES,
    MOST_PIXEL_BYTES,
    MOST_SIDE_PIXELS,
    check_size,
    fault_of_names,
    shown,
)
from tests.node_agent.models.images.sets import TEN, refused, write_picture

PIXELS = np.zeros((3, 1, 2, 2), dtype=np.uint8)
LABELS = np.array([0, 9, 4])


def test_a_set_has_the_length_of_its_images():
    assert len(ImageSet(PIXELS, LABELS, TEN)) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": PIXELS[:, 0]}, "images are uint8 [3, 2, 2]"),
        ({"images": PIXELS.astype(np.float32)}, "images are float32"),
        ({"images": PIXELS.repeat(2, axis=1)}, "images are uint8 [3, 2, 2, 2]"),
        ({"images": PIXELS[:0], "labels": LABELS[:0]}, "images are uint8 [0, 1, 2, 2]"),
        ({"labels": LABELS[:2]}, "labels are int64 [2], not int64 [3]"),
        ({"labels": LABELS.astype(np.int32)}, "labels are int32"),
        ({"labels": LABELS[:, None]}, "labels are int64 [3, 1]"),
        ({"classes": TEN[:9]}, "image 1 (counted from 0) has label 9, but there are 9 classes"),
        ({"labels": np.array([0, 1, -1])}, "image 2 (counted from 0) has label -1"),
        ({"classes": ()}, "0 names"),
        ({"classes": (*TEN, "class 3")}, "two classes are named 'class 3'"),
        ({"classes": (*TEN, "")}, "'' is no printable name"),
        ({"classes": (*TEN, "a\x1b[2J")}, r"'a\x1b[2J' is no printable name"),
    ],
)
def test_parts_that_do_not_fit_each_other(change, said):
    with pytest.raises(InputError) as caught:
        ImageSet(**{"images": PIXELS, "labels": LABELS, "classes": TEN} | change)
    assert said in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((MOST_IMAGES, 1, 1, 1), None),
        ((MOST_IMAGES + 1, 1, 1, 1), "images; 1 to"),
        ((0, 1, 1, 1), "0 images"),
        ((1, 1, 0, 5), "0x5 pixels"),
        ((1, 3, MOST_SIDE_PIXELS, MOST_SIDE_PIXELS), None),
        ((1, 3, 1, MOST_SIDE_PIXELS + 1), "a side"),
        ((MOST_PIXEL_BYTES // 2**20, 1, 1024, 1024), None),
        ((MOST_PIXEL_BYTES // 2**20 + 1, 1, 1024, 1024), "GiB"),
        ((MOST_PIXEL_BYTES // 2**20, 3, 1024, 1024), "6.0 GiB"),
    ],
)
def test_the_limits(tmp_path, sizes, said):
    if said is None:
        check_size(tmp_path, *sizes)
    else:
        refused(lambda: check_size(tmp_path, *sizes), tmp_path, said)


def test_the_number_of_classes_has_a_limit():
    assert fault_of_names([str(number) for number in range(MOST_CLASSES)]) == ""
    assert "30001 names" in fault_of_names([str(number) for number in range(MOST_CLASSES + 1)])


def test_a_path_stays_one_line(tmp_path):
    assert shown(tmp_path / "plain é") == f"{tmp_path}/plain é"
    assert shown(tmp_path / "a\nb\x1b\udcff") == ascii(f"{tmp_path}/a\nb\x1b\udcff")


def test_reading_needs_no_torch_and_loads_pillow_only_for_pictures(tmp_path):
    """In a program of its own, since the other tests have loaded both."""
    write_picture(tmp_path / "set" / "a" / "1.png", PIXELS[0, 0])
    code = (
        "import sys; from node_agent.models.images import read_images; assert 'PIL' not in sys.modules; "
        "assert len(read_images(sys.argv[1])) == 1; assert 'PIL' in sys.modules; assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "set"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
