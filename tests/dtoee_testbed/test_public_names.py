"""The public names: each loads from its home, and nothing loads before it is used."""

import subprocess
import sys
from pathlib import Path

import pytest

import dtoee_testbed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", dtoee_testbed.__all__)
def test_a_public_name_loads_from_its_home_and_says_what_it_is(name):
    found = getattr(dtoee_testbed, name)
    home = dtoee_testbed._HOME_OF[name]
    assert found is getattr(sys.modules[home], name)
    assert found.__doc__


def test_every_name_that_has_a_home_is_public():
    assert sorted(dtoee_testbed._HOME_OF) == sorted(dtoee_testbed.__all__)
    assert set(dtoee_testbed.__all__) <= set(dir(dtoee_testbed))


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'dtoee_testbed' has no attribute 'Launcher'"):
        _ = dtoee_testbed.Launcher


def test_importing_the_package_loads_nothing_else():
    code = "import dtoee_testbed, sys; print(*sorted(m for m in sys.modules if m.split('.')[0] in {known}))"
    known = "{'testbed', 'node_agent', 'numpy', 'torch', 'zmq', 'scipy', 'mininet', 'click', 'rich'}"
    done = subprocess.run(
        [sys.executable, "-c", code.replace("{known}", known)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_program_simulates_a_network_with_public_names_alone(tmp_path):
    plan = dtoee_testbed.plan_run(ROOT / "topologies" / "quickstart.yaml", duration_s=6.0, out=tmp_path / "run")
    outcome = dtoee_testbed.Simulation(plan, dtoee_testbed.SilentObserver()).run()
    assert outcome.exit_reason == "completed"
    recorded = dtoee_testbed.read_recorded(outcome.run_directory)
    assert recorded.summary()["tasks"]["completed"] == outcome.summary["tasks"]["completed"] > 50
