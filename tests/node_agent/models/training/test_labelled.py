import numpy as np
import pytest

from node_agent.errors import InputError
from node_agent.models.data_types import Input, Samples
from node_agent.models.images import ImageSet
from node_agent.models.networks.early_exit import EarlyExitModel, Recipe
from node_agent.models.training.labelled import labelled, split_samples


def model(images, labels, form=None, classes=3) -> type[EarlyExitModel]:
    """A class whose samples are these."""

    class Found(EarlyExitModel):
        @classmethod
        def samples(cls, split):  # noqa: ARG003
            return images, labels

    Found.input, Found.classes = form or Input((1, 2, 2)), classes
    return Found


LABELS = np.array([0, 1, 2, 1])
BYTES = np.arange(16, dtype=np.uint8).reshape(4, 1, 2, 2)


@pytest.mark.parametrize("images", [BYTES, list(BYTES), BYTES.astype(np.int64), BYTES.tolist()], ids=type)
def test_images_come_as_arrays_or_lists(images):
    found = labelled(model(images, LABELS.tolist()), "train")
    np.testing.assert_array_equal(found.images, BYTES)
    assert (found.images.dtype, found.labels.dtype, found.lengths) == (np.uint8, np.int64, None)
    np.testing.assert_array_equal(found.labels, LABELS)


def test_a_set_of_images_is_taken_as_it_is():
    class Given(model(None, None)):
        @classmethod
        def samples(cls, split):  # noqa: ARG003
            return ImageSet(BYTES, LABELS, ("a", "b", "c"))

    np.testing.assert_array_equal(labelled(Given, "test").images, BYTES)


def named(names, classes) -> type[EarlyExitModel]:
    """A class whose samples carry names of classes."""

    class Given(model(None, None, classes=classes)):
        @classmethod
        def samples(cls, split):  # noqa: ARG003
            return ImageSet(BYTES, LABELS % len(names), names)

    return Given


@pytest.mark.parametrize(
    ("names", "classes", "said"),
    [
        (("apple", "pear"), ("pear", "apple"), "2 names ('apple', 'pear'), but `classes` is 2 names ('pear', 'apple')"),
        (("apple", "pear"), ("apple", "pear", "fig"), "`classes` is 3 names ('apple', 'pear', 'fig')"),
        (("apple", "pear"), 3, "2 names ('apple', 'pear'), but `classes` is 3"),
        (tuple("abcdefghij"), ["x", "y"], "'g', 'h', ...), but `classes` is 2 names ('x', 'y')"),
        (tuple("abcdefghij"), [*"abcdefghi", "z"], "10 names (..., 'j'), but `classes` is 10 names (..., 'z')"),
    ],
)
def test_names_of_the_samples_must_be_those_of_the_class(names, classes, said):
    with pytest.raises(InputError) as caught:
        labelled(named(names, classes), "train")
    assert str(caught.value).startswith("model Given: samples('train'): the classes of the samples are ")
    assert str(caught.value).endswith(said)
    assert "in their order" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "classes"),
    [(("a", "b"), ["a", "b"]), (("a", "b"), 2), (("0", "1"), ("a", "b")), (("0", "1"), ("a", "b", "c"))],
)
def test_equal_names_and_mere_numbers_pass(names, classes):
    assert len(labelled(named(names, classes), "train")) == 4


def test_floats_keep_their_values():
    form = Input((1, 2, 2), dtype="float32")
    found = labelled(model(BYTES / 7, LABELS, form), "train")
    np.testing.assert_allclose(found.images, BYTES / 7, rtol=1e-6)
    assert found.images.dtype == np.float32


@pytest.mark.parametrize(
    ("images", "labels", "form", "said"),
    [
        (BYTES / 7, LABELS, None, "samples are float64"),
        (BYTES.astype(np.int64) + 250, LABELS, None, "numbers from 250 to 265 do not fit uint8"),
        (BYTES.astype(np.int64) - 1, LABELS, None, "numbers from -1 to 14 do not fit uint8"),
        (np.full((4, 1, 2, 2), np.nan), LABELS, Input((1, 2, 2), dtype="float32"), "NaN or infinity"),
        (np.full((4, 1, 2, 2), "x"), LABELS, None, "samples are <U1"),
        ([np.zeros((1, 2, 2)), np.zeros((1, 2, 3))], [0, 1], None, "different shapes, such as [1, 2, 2] and [1, 2, 3]"),
        (BYTES, LABELS / 2, None, "labels are float64 [4], not whole numbers"),
        (BYTES, LABELS[:, None], None, "labels are int64 [4, 1]"),
        (BYTES, LABELS[:3], None, "4 images, but 3 labels"),
        (BYTES, LABELS - 1, None, "labels from -1 to 1, but classes from 0 to 2"),
        ([np.arange(3), np.arange(9)], [0, 1], Input((8,), "uint16", varies=True), "sample 1 has the shape [9]"),
        ([np.arange(3), np.arange(0)], [0, 1], Input((8,), "uint16", varies=True), "sample 1 has the shape [0]"),
        ([np.zeros((3, 2)), np.zeros((3, 4))], [0, 1], Input((8, 2), "float32", varies=True), "sample 1 has the shape"),
        ([np.array([2**16])], [0], Input((8,), "uint16", varies=True), "do not fit uint16"),
    ],
)  # fmt: skip
def test_samples_of_another_form_are_refused(images, labels, form, said):
    with pytest.raises(InputError) as caught:
        labelled(model(images, labels, form), "train")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "said", "hint"),
    [
        (LABELS / 2, "labels are float64 [4], not whole numbers in a row", "labels are the numbers of classes from 0"),
        (np.eye(3, dtype=int)[LABELS], "labels are int64 [4, 3]", "of one-hot rows, return labels.argmax(axis=1)"),
        ([[0], [1, 2]], "labels: setting an array element with a sequence", "labels are the numbers of classes from 0"),
        (LABELS[:3], "4 images, but 3 labels", "one label for each image"),
        (LABELS + 1, "labels from 1 to 3, but classes from 0 to 2", "counted from 0"),
    ],
)
def test_the_hint_on_labels_is_about_labels(labels, said, hint):
    with pytest.raises(InputError) as caught:
        labelled(model(BYTES, labels), "train")
    assert str(caught.value).startswith(f"model Found: samples('train'): {said}")
    assert hint in caught.value.hint
    assert "the class states" not in caught.value.hint


def test_the_hint_on_samples_is_about_their_form():
    with pytest.raises(InputError) as caught:
        labelled(model(BYTES / 7, LABELS), "train")
    assert caught.value.hint == "the class states uint8 [1, 2, 2]"


def test_no_sample_serves_two_purposes_and_the_seed_decides():
    images = np.arange(240, dtype=np.uint16).repeat(4).reshape(240, 1, 2, 2)
    kind = model(images, np.zeros(240, np.int64), Input((1, 2, 2), "uint16"))
    first, again, other = (split_samples(kind, Recipe(seed=seed, held_out=20)) for seed in (1, 1, 2))
    parts = [first.train(1), first.validation, first.calibration, first.exit_table]
    assert [len(part) for part in parts] == [180, 20, 20, 20]
    assert sorted(number for part in parts for number in part.images[:, 0, 0, 0]) == list(range(240))
    np.testing.assert_array_equal(first.exit_table.images, again.exit_table.images)
    assert (first.exit_table.images != other.exit_table.images).any()
    assert len(split_samples(kind, Recipe(evaluation=7)).evaluation) == 7


def test_samples_of_varying_length_are_chosen_whole():
    texts = Samples(np.arange(10), np.array([0, 1, 2, 3]), None, np.array([1, 4, 2, 3]))
    assert [texts.sample(index).tolist() for index in range(4)] == [[0], [1, 2, 3, 4], [5, 6], [7, 8, 9]]
    chosen = texts.chosen(np.array([3, 0]))
    assert [chosen.sample(index).tolist() for index in range(2)] == [[7, 8, 9], [0]]
    assert (chosen.labels.tolist(), chosen.lengths.tolist()) == ([3, 0], [3, 1])
    assert len(texts.chosen(np.array([], int))) == 0
