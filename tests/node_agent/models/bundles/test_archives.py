import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from node_agent.models.bundles import archives
from node_agent.models.bundles.archives import Archive

ARRAYS = hnp.arrays(
    st.sampled_from(["u1", "<u2", "<i8", ">i4", "<f2", "<f4", "<f8", "?"]), hnp.array_shapes(max_dims=4, max_side=5)
)


@given(ARRAYS, st.booleans(), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, array, fortran, compressed):
    if fortran:
        array = np.asfortranarray(array)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", one=array, other=np.zeros(2))
    archive = Archive(tmp_path / "a.npz")
    assert archive.shape("one") == array.shape
    found = archive.read("one")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert "other" in archive
    assert "third" not in archive
    with pytest.raises(ValueError, match="no array 'third'"):
        archive.read("third")


def test_an_empty_array_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.zeros((0, 3)))
    assert Archive(tmp_path / "a.npz").read("one").shape == (0, 3)


def test_an_array_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", one=np.zeros(10, np.uint8))
    monkeypatch.setattr(archives, "MOST_BYTES", 10)
    assert Archive(tmp_path / "a.npz").read("one").sum() == 0
    monkeypatch.setattr(archives, "MOST_BYTES", 9)
    with pytest.raises(ValueError, match="one: 10 bytes, above the limit of 9"):
        Archive(tmp_path / "a.npz").read("one")
