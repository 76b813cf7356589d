"""Activations as int8: scale and zero point travel with the tensor, and no element moves by more than half a step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from node_agent.errors import TestbedError
from node_agent.models.tensors import as_array, as_tensor, quantised, usual_form
from node_agent.wire import PREFIX, InputForm, Task, Tensor, TensorForm, decode, encode

finite = st.floats(-(2.0**99), 2.0**99, width=32)
activations = arrays.arrays(np.float32, arrays.array_shapes(max_dims=3, max_side=8), elements=finite)


@given(activations)
def test_no_element_moves_by_more_than_half_a_step(array):
    tensor = quantised(array)
    found, affine = as_array(tensor), tensor.form.affine
    assert (tensor.form.dtype, tensor.form.shape) == ("int8", array.shape)
    assert (found.dtype, found.shape, len(tensor.data)) == (np.float32, array.shape, array.size)
    moved = np.abs(found.astype(np.float64) - array)
    # Results are rounded to float32 once more.
    assert (moved <= affine.scale / 2 * (1 + 1e-9) + np.spacing(np.abs(array).max())).all()
    assert (found[array == 0] == 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 3.14159, 1e-45, -1e-38, 3.4028235e38, -3.4028235e38])
def test_constant_tensors_and_extreme_ranges(value):
    array = np.full((2, 3), value, np.float32)
    found = as_array(quantised(array))
    np.testing.assert_allclose(found, array, rtol=2e-7)
    assert np.isfinite(found).all()


def test_the_whole_range_of_float32():
    most = np.finfo(np.float32).max
    array = np.array([-most, 0, most], np.float32)
    found = as_array(quantised(array))
    assert np.isfinite(found).all()
    assert found[1] == 0
    np.testing.assert_allclose(found, array, rtol=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_numbers_that_are_not_finite_are_refused(value, place):
    array = np.ones(4, np.float32)
    array[place] = value
    with pytest.raises(TestbedError, match="NaN or infinite, which int8 cannot hold") as caught:
        quantised(array)
    assert "activation: float32" in caught.value.hint


def test_scale_and_zero_point_travel_in_the_header():
    array = np.linspace(-1, 2, 24, dtype=np.float32).reshape(1, 4, 6)
    tensor = quantised(array)
    task = Task(1, "cam", 1, 1, 0.0, (), tensor.form)
    _, received = decode([bytes(frame) for frame in encode(task, tensor)])
    np.testing.assert_array_equal(as_array(received), as_array(tensor))
    assert received.form.byte_count == 24
    form = InputForm(usual_form("int8", (1, 4, 6)))
    assert form.fits(tensor.form)
    assert not form.fits(TensorForm("int8", (1, 4, 7), tensor.form.affine))
    assert not form.fits(TensorForm("uint8", (1, 4, 6)))
    usual = Task(1, "cam", 1, 1, 0.0, (), quantised(np.abs(array)).form)
    # Simulated messages have the same length.
    assert len(encode(usual)[0]) == len(encode(Task(1, "cam", 1, 1, 0.0, (), form.usual))[0]) > len(PREFIX)


def test_forms_of_varying_length_keep_scale_and_zero_point():
    form = InputForm(usual_form("int8", (8, 6)), 16)
    assert form.sized(3) == TensorForm("int8", (3, 6), form.usual.affine)
    assert form.fits(quantised(np.ones((16, 6), np.float32)).form)
    assert not form.fits(quantised(np.ones((17, 6), np.float32)).form)


@given(arrays.arrays(np.int8, (5,)))
def test_whole_numbers_without_a_scale_stay_as_they_are(array):
    np.testing.assert_array_equal(as_array(as_tensor(array)), array)
    assert as_array(Tensor(TensorForm("int8", (5,)), array.tobytes())).dtype == np.int8
