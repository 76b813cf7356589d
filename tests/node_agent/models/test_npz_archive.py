import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from node_agent.models.npz_archive import NpzArchive

ARRAYS = hnp.arrays(
    st.sampled_from(["u1", "<u2", "<i8", ">i4", "<f2", "<f4", "<f8", "?"]), hnp.array_shapes(max_dims=4, max_side=5)
)


@given(ARRAYS, st.booleans(), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, array, fortran, compressed):
    if fortran:
        array = np.asfortranarray(array)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", one=array, other=np.zeros(2))
    with (tmp_path / "a.npz").open("rb") as stream:
        archive = NpzArchive(stream)
        assert archive.header("one").shape == array.shape
        found = archive.read("one")
        assert sorted(archive.members) == ["one", "other"]
        with pytest.raises(ValueError, match="no such array"):
            archive.read("third")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_an_empty_array_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.zeros((0, 3)))
    with (tmp_path / "a.npz").open("rb") as stream:
        assert NpzArchive(stream).read("one").shape == (0, 3)


def test_more_members_than_allowed(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"a{number}": np.zeros(1) for number in range(65)})
    with (tmp_path / "a.npz").open("rb") as stream, pytest.raises(ValueError, match="65 files, 64 at most"):
        NpzArchive(stream)
