"""The parts of the dynamic suite: intervals, scenarios, rivals, and what is read from a watched run."""

import math
import re

import numpy as np
import pytest
from scipy.stats import t as student

from node_agent.policies import make_policy, parse_policy, policy_defaults, policy_names
from node_agent.wire import Hop
from testbed.compare.recovery import Recovery
from testbed.run.planning import plan_run
from testbed.topology import load_topology
from tests.bench.dynamic import blocks, entrants, networks, picture, policies, reaction, recovery, traffic
from tests.bench.dynamic.entrants import FAMILY, Entrant
from tests.bench.dynamic.paired import simultaneous
from tests.bench.dynamic.policies import FIXED, OWN, Figures
from tests.bench.dynamic.scenarios import CHURN_EVERY_S, MOST_DOWN, SCENARIOS, comings_and_goings
from tests.bench.dynamic.watching import row_in_force, watched
from tests.bench.results import Result
from tests.bench.table import row, verdict
from tests.testbed import small
from tests.testbed.record.task_lines import task_line


def run(delay_s: float, utility_s: float = 2.0, *, lost: int = 0, overloaded: bool = False) -> Figures:
    return Figures(delay_s, utility_s, 0.8, lost, overloaded)


def by_name(rows):
    return {entry["name"]: entry for entry in rows}


class TestIntervals:
    def test_one_interval_is_students(self):
        found = simultaneous([1.0, 2.0, 4.0, 5.0], 1)
        data = np.array([1.0, 2.0, 4.0, 5.0])
        low, high = student.interval(0.95, 3, loc=data.mean(), scale=data.std(ddof=1) / 2)
        assert found == pytest.approx((3.0, low, high))

    def test_together_they_cover_as_often_as_they_say(self):
        rng, comparisons, missed = np.random.default_rng(1), 10, 0
        for _ in range(400):
            found = [simultaneous(rng.normal(0, 1, 5), comparisons) for _ in range(comparisons)]
            missed += any(not each.low <= 0 <= each.high for each in found)
        assert missed < 0.1 * 400  # 5 % with chance; uncorrected ones miss in 40 %

    def test_one_seed_has_no_interval(self):
        assert simultaneous([3.0], 5).bounds is None


class TestScenarios:
    @pytest.mark.parametrize("name", SCENARIOS)
    def test_each_is_a_valid_topology(self, name, tmp_path):
        scenario = load_topology(SCENARIOS[name](tmp_path)).resolve()
        assert scenario.duration_s >= 60
        assert len(scenario.servers) >= 4

    def test_the_busier_city_offers_half_as_much_again(self, tmp_path):
        rates = [
            sum(device.rate_per_s for device in load_topology(SCENARIOS[name](tmp_path)).resolve().devices)
            for name in ("city", "city, higher load")
        ]
        assert rates[1] == pytest.approx(1.5 * rates[0])

    def test_a_server_fails_or_returns_every_ten_seconds(self, tmp_path):
        scenario = load_topology(SCENARIOS["city with churn"](tmp_path)).resolve()
        assert [event.at_s for event in scenario.events] == [CHURN_EVERY_S * k for k in range(1, 12)]

    @pytest.mark.parametrize("seed", range(5))
    def test_few_are_down_at_a_time_and_never_two_of_a_stage(self, seed):
        stages = {f"s{number}": 1 + number % 3 for number in range(9)}
        down = set()
        changes = list(comings_and_goings(stages, 300.0, seed))
        for _, server, state in changes:
            assert (server in down) == (state == "up")
            down = down - {server} if state == "up" else down | {server}
            assert len({stages[name] for name in down}) == len(down) <= MOST_DOWN
        assert len(changes) == 29


class TestEntrants:
    def test_every_policy_is_of_the_family_or_a_rival(self, tmp_path, monkeypatch):
        monkeypatch.setattr(entrants, "best_threshold", lambda *_: 0.7)
        rivals = entrants.rivals(tmp_path / "t.yaml")
        assert {each.name.split(",")[0] for each in rivals} | set(FAMILY) == set(policy_names())
        assert rivals[-1] == Entrant(
            "shortest-expected-delay, best threshold", "shortest-expected-delay:threshold=0.7", None
        )

    def test_equal_thresholds_do_not_move(self, tmp_path, monkeypatch):
        monkeypatch.setattr(entrants, "best_threshold", lambda *_: 0.7)
        for each in (*entrants.family(), *entrants.rivals(tmp_path / "t.yaml")):
            if each.fixed is not None:
                name, parameters = parse_policy(each.fixed)
                assert make_policy(name, parameters).first_threshold == 0.8
                adapts = policy_defaults()[name].get("adapt_thresholds") == "true"
                assert (parameters.get("adapt_thresholds") is False) == adapts


class TestComparison:
    def test_the_best_rival_and_the_aim(self):
        runs = {
            "dto-ee": [run(0.30), run(0.31)], "dto-ee-static": [run(0.2), run(0.2)], "near": [run(0.302), run(0.311)],
            "far": [run(0.6), run(0.62)],
        }  # fmt: skip
        rows = by_name(policies.compared("net", runs, FIXED, 4))
        assert rows["net: mean delay, less than that of far"]["value"] == pytest.approx(50)
        best = rows["net: lead over the best rival"]
        assert (best["rival"], verdict(best)) == ("near", "missed")  # half a per cent; the family is no rival
        assert rows["net: mean delay, less than that of dto-ee-static"]["value"] < 0

    def test_a_rival_that_is_ahead_beyond_the_interval_is_missed(self):
        ours = [run(0.3, 2.0 + noise) for noise in (0.0, 0.001, 0.002)]
        ahead = [run(0.3, 2.1 + noise) for noise in (0.0, 0.001, 0.002)]
        found = by_name(policies.compared("net", {"dto-ee": ours, "other": ahead}, OWN, 10))
        least = found["net: lead, upper end, least of all rivals"]
        assert (least["rival"], verdict(least)) == ("other", "missed")
        assert least["value"] == pytest.approx(-100, abs=1)  # ms

    def test_a_rival_within_the_interval_is_no_fault(self):
        ours, noisy = [run(0.30), run(0.30)], [run(0.29), run(0.305)]
        found = by_name(policies.compared("net", {"dto-ee": ours, "other": noisy}, FIXED, 1))
        assert verdict(found["net: lead, upper end, least of all rivals"]) == "ok"

    def test_an_overloaded_rival_has_no_lead_and_an_overloaded_flagship_is_a_fault(self):
        runs = {"dto-ee": [run(0.3, overloaded=True)], "other": [run(9.0, overloaded=True)]}
        assert list(policies.compared("net", runs, OWN, 1)) == []
        levels = by_name(policies._levels("net", runs))
        assert verdict(levels["net: dto-ee, overloaded"]) == "missed"
        assert verdict(levels["net: other, overloaded"]) is None

    def test_rivals_far_behind_run_on_few_seeds_only(self, tmp_path, monkeypatch):
        delay_s = {"a": 0.3, "a:fixed": 0.32, "b": 0.34, "c": 0.9}
        asked = []

        def figures_of(work, asks):  # noqa: ARG001
            asked.extend(asks)
            return [run(delay_s[ask.policy] + ask.seed * 1e-5) for ask in asks]

        monkeypatch.setattr(policies, "spread", figures_of)
        found = policies.simulated(
            tmp_path, [Entrant("a", "a", "a:fixed"), Entrant("b", "b", "b"), Entrant("c", "c", None)], 8
        )
        played = {text: len(runs) for text, runs in found.items()}
        assert played == {"a": 8, "a:fixed": 8, "b": 8, "c": policies.SCREENED}
        assert [one.delay_s for one in found["b"]] == pytest.approx([0.34 + seed * 1e-5 for seed in range(101, 109)])
        assert len(asked) == 8 * 3 + policies.SCREENED

    def test_a_real_scenario_gives_valid_rows(self, tmp_path):
        path = tmp_path / "small.yaml"
        path.write_text(small.SMALL)
        two = [*entrants.family()[:2], Entrant("uniform", "uniform", "uniform")]
        rows = list(policies.scenario_rows("small", path, two, 2, 4))
        assert "invalid" not in map(verdict, rows)
        assert len(by_name(rows)["small, thresholds 0.8: dto-ee, mean delay"]["samples"]) == 2


class TestReaction:
    def test_half_the_share_counts_from_when_it_could_be_known(self):
        shares = [(1.0, 0.5), (2.0, 0.4), (3.0, 0.3), (4.0, 0.21), (5.0, 0.2), (6.0, 0.0)]
        assert reaction.halved_after_s(shares, 2.5, 3.2) == pytest.approx(1.8)
        assert reaction.halved_after_s(shares, 2.5, 5.5) == 0  # sooner than anybody could know
        assert math.isinf(reaction.halved_after_s(shares[:4], 2.5, 3.2))

    def test_the_first_late_service_is_one_that_took_longer_than_before(self):
        def served(number, node, started_s, finished_s):
            return task_line(number, hops=(Hop(node, started_s, started_s, finished_s, finished_s, 0.0),))

        tasks = [served(1, "a", 1.0, 1.1), served(2, "a", 2.0, 2.1), served(3, "b", 3.0, 3.9),
                 served(4, "a", 3.0, 3.11), served(5, "a", 4.0, 4.3)]  # fmt: skip
        assert reaction.first_late_s(tasks, "a", 2.5) == 4.3
        assert reaction.first_late_s(tasks[:4], "a", 2.5) is None

    def test_a_slow_server_gets_less(self):
        (found,) = reaction.reactions(reaction.Ask("quickstart", "dto-ee-static", 301))
        assert found.server == "near-1"
        assert 0 <= found.halved_s < 9
        assert 3 < found.wanted_s < 4  # a slot of 3 s, as static reports


class TestRecovery:
    @staticmethod
    def stretch(before_s, mean_s, settled_s, tasks=100):
        none = dict.fromkeys(("window_s", "peak_s", "tolerance_s", "recovered_after_s", "paid_task_s",
                              "paid_per_task_s"))  # fmt: skip
        return Recovery(
            at_s=10.0, what="x", until_s=20.0, before_s=before_s, settled_s=settled_s, mean_s=mean_s,
            extra_task_s=(mean_s - before_s) * tasks, lost=0.0, refused=0.0, **none,
        )  # fmt: skip

    def test_the_excess_counts_from_the_better_level(self):
        assert recovery.excess_task_s(self.stretch(0.2, 0.5, 0.3), 0.3) == pytest.approx(20)
        assert recovery.excess_task_s(self.stretch(0.2, 0.5, 0.4), 0.3) == pytest.approx(20)
        assert recovery.excess_task_s(self.stretch(0.2, 0.2, 0.4), 0.3) is None


class TestWatching:
    def test_a_watched_run_is_the_run_that_it_watches(self, tmp_path):
        path = tmp_path / "small.yaml"
        path.write_text(small.SMALL)
        seen = []

        def look(course, at_s):
            device = course.nodes["cam-1"].core
            seen.append((at_s, row_in_force(device.routing).sum()))

        plan = plan_run(path, out=tmp_path / "watched")
        watched(plan, look, every_s=0.5)
        policies.figures_of(policies.Ask(path, None, None))
        usual = plan_run(path, out=tmp_path / "usual")
        watched(usual, lambda *_: None, every_s=100.0)
        assert [at_s for at_s, _ in seen] == [0.5 * k for k in range(1, 17)]
        assert [total for _, total in seen] == pytest.approx([1.0] * 16)
        assert (tmp_path / "watched/tasks.jsonl").read_bytes() == (tmp_path / "usual/tasks.jsonl").read_bytes()

    def test_control_traffic_is_counted_on_links_that_carry_it(self, monkeypatch):
        monkeypatch.setattr(traffic, "FROM_S", 2.5)
        monkeypatch.setattr(traffic, "UNTIL_S", 5.0)
        quiet, asking = (traffic.traffic_of(traffic.Ask(name, traffic.LOADS[1]))
                         for name in ("uniform", "dto-ee-2c"))  # fmt: skip
        assert 0 < quiet.messages_per_s < asking.messages_per_s
        assert 0 < quiet.share <= quiet.most_share < 0.01
        assert quiet.byte_per_s < quiet.most_byte_per_s


class TestNetworks:
    @pytest.mark.parametrize("stages", networks.CUTS)
    def test_each_stage_is_loaded_as_asked(self, stages):
        scenario = load_topology_of(networks.topology(networks.Ask(3, stages, 0.6)))
        assert scenario.stages == stages
        profiles = scenario.model.open().profiles(scenario.model.cut, scenario.model.activation)
        first = sum(server.capacity_flop_per_s for server in scenario.servers_of_stage(1))
        rate = sum(device.rate_per_s for device in scenario.devices)
        assert rate * profiles[0].flop / first == pytest.approx(0.6, rel=1e-3)

    def test_a_settled_plan_is_near_the_best_and_a_bad_one_is_not(self, monkeypatch):
        monkeypatch.setattr(networks, "DURATION_S", 30.0)
        good = networks.found_on(networks.Ask(501, 2, 0.5))
        assert good.above is not None
        assert 0 <= good.above < 0.05
        assert good.lost == 0
        monkeypatch.setattr(networks, "POLICY", "bandwidth-first")
        bad = networks.found_on(networks.Ask(501, 2, 0.5))
        assert bad.above > good.above


class TestPages:
    @staticmethod
    def rows():
        found = {"dto-ee": [run(0.30, 2.0), run(0.31, 2.01)], "near": [run(0.33, 1.9), run(0.34, 1.93)],
                 "far": [run(3.0, 0.5), run(3.1, 0.51)]}  # fmt: skip
        levels = [*policies._levels(f"city, {FIXED}", {**found, "dto-ee-static": found["near"],
                                                       "dto-ee-2c": found["near"]})]  # fmt: skip
        both = [
            *policies.compared(f"city, {FIXED}", found, FIXED, 4),
            *policies.compared(f"city, {OWN}", found, OWN, 4),
        ]
        lost = policies._levels(f"city, {OWN}", {"dto-ee": found["dto-ee"]})
        return [*levels, *both, *lost, row("all of it: 1 scenarios, 2 seeds", 3.0, "min")]

    def test_the_table_names_the_best_rival_and_its_interval(self):
        result = Result("dynamic.policies", "", "", "2026-11-30", {}, tuple(self.rows()))
        text = "\n".join(blocks.scenarios(result))
        assert "| city | 2 | 305 | 335 | 335 | 9.0 % [" not in text  # the unit stands in the head
        assert re.search(r"\| city \| 2 \| 305 \| 335 \| 335 \| 9\.0 \[.*\], near \| 90 \[.*\], near \|", text)
        said = text.replace("\n", " ")
        assert "the whole suite took 3 min." in said
        assert "In 0 of 2 comparisons some rival is ahead beyond its interval." in said
        assert "is missed in 0 of 1 networks." in said

    def test_the_text_names_where_a_rival_is_ahead(self):
        rows = [dict(entry) for entry in self.rows()]
        for entry in rows:
            if entry["name"].startswith(f"city, {FIXED}: lead"):
                entry |= {"ok": False}
        result = Result("dynamic.policies", "", "", "2026-11-30", {}, tuple(rows))
        said = " ".join(blocks.scenarios(result))
        assert "In 1 of 2 comparisons some rival is ahead beyond its interval: city, thresholds 0.8 (near)." in said
        assert "is missed in 1 of 1 networks: city." in said

    def test_the_picture_names_each_policy_and_what_lies_beyond_it_is_an_arrow(self):
        found = picture.leads(self.rows(), FIXED, "mean delay, less than that of")
        assert [(lead.policy, round(lead.mean)) for lead in found] == [("near", 9), ("far", 90)]
        drawn = picture.svg(self.rows())
        assert drawn.count(">near<") == drawn.count(">far<") == 1
        assert drawn == picture.svg(self.rows())  # and it is the same each time
        assert "matplotlib.org" not in drawn


def load_topology_of(text):
    from testbed.topology.topology_file import load_topology_text

    return load_topology_text(text).resolve()
