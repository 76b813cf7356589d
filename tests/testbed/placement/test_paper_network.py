"""The quickly built flow model of a candidate is the optimum's own."""

import random

import numpy as np
import pytest

from testbed.network.routes import Ways
from testbed.optimum.bound import offered_table
from testbed.optimum.flow_model import CutOff, flow_model, segments
from testbed.placement.candidates import Candidate
from testbed.placement.paper_network import PaperNetwork
from testbed.placement.stated_site import read_site
from tests.testbed.placement.test_rewriting import EVERYTHING


@pytest.mark.parametrize(("loss", "candidates"), [("0 %", 20), ("1 %", 2)])  # loss must be simulated
def test_a_candidate_has_the_model_of_its_scenario(tmp_path, loss, candidates):
    path = tmp_path / "everything.yaml"
    path.write_text(EVERYTHING.replace("jitter: 0.2 ms", f"jitter: 0.2 ms, loss: {loss}"))
    site, draw = read_site(path).site, random.Random(1)
    compared = 0
    while compared < 4 * candidates:
        candidate = Candidate(draw.choice(site.cuts), tuple(draw.randint(1, 3) for _ in site.servers))
        if site.trouble(candidate) is not None:
            continue
        placed = site.placed(candidate)
        table = offered_table(placed, site.model)
        profiles = site.profiles(candidate.cut)
        for before, after in zip(segments(site.scenario), segments(placed), strict=True):
            quick = PaperNetwork(site, before, Ways(site.scenario))
            options = tuple((stage,) for stage in candidate.stages)
            try:
                other = flow_model(after.scenario, profiles, table, down=after.down, ways=Ways(placed))
            except CutOff as error:
                with pytest.raises(CutOff, match=str(error)):
                    quick.model(profiles, table, options)
                continue
            _compare(quick.model(profiles, table, options), other)
            compared += 1


def _compare(one, other):
    """Both have the same nodes; those of stage 1 may stand in another order, since own processors come last."""
    assert [sorted(names) for names in one.names] == [sorted(names) for names in other.names]
    for stage, names in enumerate(other.names[1:]):
        order = [one.names[stage + 1].index(name) for name in names]
        assert one.network.service_per_s[stage][order] == pytest.approx(other.network.service_per_s[stage])
        assert one.return_s[stage][order] == pytest.approx(other.return_s[stage])
    for index, tier in enumerate(other.network.tiers):
        assert _ways(one, index) == pytest.approx(_ways(other, index), rel=1e-12)
        assert tier.exists.sum() == one.network.tiers[index].exists.sum()


def _ways(model, index):
    """Transfer time [s] and rate [1/s] of every link of a tier, by the names of its ends."""
    tier, found = model.network.tiers[index], {}
    for i, k in zip(*np.nonzero(tier.exists), strict=True):
        ends = model.names[index][i], model.names[index + 1][tier.receivers[i, k]]
        found[(*ends, "time")], found[(*ends, "rate")] = tier.transfer_s[i, k], tier.link_rate_per_s[i, k]
    return found
