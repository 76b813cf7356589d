"""The inputs of a policy: one name for one quantity, arrays for all receivers, errors that map old names to new."""

import inspect

import numpy as np
import pytest

from node_agent.policies.base import Candidate, KnownReceiver, Prospect
from node_agent.policies.prospect import RENAMED
from tests.node_agent.policies.test_policies import prospect, view


def test_what_receivers_reported_reads_as_arrays_made_once_and_the_class_can_be_looked_at():
    priced = prospect(marginal_s=[0.3, 0.2, 0.1])
    assert priced.marginal_s.tolist() == [0.3, 0.2, 0.1]
    assert priced.marginal_s is priced.marginal_s
    assert priced.service_per_s.tolist() == [10.0, 30.0, 60.0]
    assert {"marginal_s", "service_per_s"} <= {name for name, _ in inspect.getmembers(Prospect)}


def test_a_figure_has_one_name_of_one_receiver_and_of_all_and_is_an_array_of_all():
    """Every public figure of `KnownReceiver` is a column of `Prospect`; the others are numbers."""
    known = prospect(marginal_s=[0.3, 0.2, 0.1], alive=(True, False, True))
    private = {"name", "report", "way_s", "return_correction_s"}  # parts of what has a column
    figures = {name for name in dir(KnownReceiver) if not name.startswith("_")} - private - {"count", "index"}
    assert {"alive", "link_s", "delta_s", "onward_delay_s"} <= figures
    for figure in figures:
        column = getattr(known, figure)
        assert isinstance(column, np.ndarray)
        assert column.tolist() == [getattr(receiver, figure) for receiver in known.receivers]
    told = set(known.receivers[0].report.__struct_fields__)
    for name, column in ((name, getattr(known, name)) for name in dir(Prospect) if not name.startswith("_")):
        if not callable(column) and name not in {"names", "receivers", "stale", "leaving_per_s"}:
            assert isinstance(column, np.ndarray)
            assert column.shape == (3,)
            assert name in figures | told | {"sojourn_s"}


@pytest.mark.parametrize("old", RENAMED["Prospect"])
def test_an_old_name_of_a_prospect_is_told_with_the_new_one(old):
    assert not hasattr(prospect(), old)
    with pytest.raises(AttributeError, match=f"Prospect.{old} is now "):
        getattr(prospect(), old)
    with pytest.raises(AttributeError, match="'Prospect' object has no attribute 'nothing'"):
        assert prospect().nothing


def test_an_old_name_of_a_candidate_and_of_what_lies_ahead_is_told_with_the_new_one():
    with pytest.raises(AttributeError, match=r"Candidate\.return_s is now Candidate\.exit_return_s"):
        assert Candidate(0.5, 0.1, 0, 1.0, 0.0).return_s
    with pytest.raises(AttributeError, match=r"Onward\.link_s is now Onward\.link_marginal_s"):
        assert view().onward.link_s
