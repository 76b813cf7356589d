"""The files that travel: which they are, and what is refused on arrival."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.errors import InputError, TestbedError
from testbed.cells.batch import Options, check_plans, settings_of
from testbed.cells.cell import cells_of
from testbed.cells.cluster import luggage
from testbed.cells.cluster.luggage import below, input_files, pack_inputs, pack_run, unpack_inputs, unpack_run
from testbed.cells.policy_specs import read_specs
from testbed.topology.overrides import Override
from tests.testbed.compare.topology import SMALL, write

OWN = "from node_agent.policies.uniform import Uniform\n\nclass Own(Uniform): ...\n"


def cells(path, policies=("uniform",), **options):
    chosen = Options(simulate=True, **options)
    specs = read_specs(policies)
    return cells_of(specs, [1], Path("out"), settings_of(path, check_plans(path, specs, chosen), chosen))


def table(path):
    """A small table of recorded answers with two exits."""
    lines = ["label,answer_1,confidence_1,answer_2,confidence_2"]
    lines += [f"{number % 2},{number % 2},0.9,{number % 2},0.95" for number in range(100)]
    path.write_text("\n".join(lines) + "\n")


def test_of_shipped_models_and_policies_only_the_topology_travels(tmp_path):
    assert input_files(cells(write(tmp_path))) == (tmp_path / "small.yaml",)


def test_policies_and_traces_travel(tmp_path, monkeypatch):
    for name in ("own.py", "other.py"):
        (tmp_path / name).write_text(OWN)
    (tmp_path / "up.csv").write_text("time_s,rate_mbit_per_s,delay_ms\n0,20,10\n5,10,20\n")
    text = SMALL.replace("rate: 20 Mbit/s, delay: 3 ms", "trace: {up: up.csv, down: up.csv}")
    path = write(tmp_path, text.replace("policy: dto-ee", "policy: {name: 'own.py:Own'}"))
    monkeypatch.chdir(tmp_path)
    found = cells(Path("small.yaml"), ["other.py:Own:label=other", "uniform"])
    assert input_files(found) == (tmp_path / "other.py", path, tmp_path / "up.csv")
    own_policy = [replace(found[0], spec=replace(found[0].spec, text=""))]
    assert input_files(own_policy) == (tmp_path / "own.py", path, tmp_path / "up.csv")


def test_weights_of_a_learned_policy_travel(tmp_path, monkeypatch):
    from node_agent.policies import learned

    (tmp_path / "mine.npz").write_bytes(Path(learned.__file__).with_name("learned.npz").read_bytes())
    monkeypatch.chdir(tmp_path)
    found = cells(write(tmp_path), ["learned:weights=mine.npz", f"learned:weights={tmp_path}/mine.npz,label=b"])
    assert tmp_path / "mine.npz" in input_files(found)
    root = tmp_path / "root"
    unpack_inputs(pack_inputs(input_files(found), tmp_path), root)
    moved = [below(cell, root, tmp_path / "run").spec.text for cell in found]
    assert sorted(moved) == sorted(["learned:weights=mine.npz", f"learned:weights={root}{tmp_path}/mine.npz,label=b"])


def test_an_override_may_name_a_file(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("time_s,rate_mbit_per_s,delay_ms\n0,20,10\n5,10,20\n")
    text = SMALL.replace("rate: 20 Mbit/s, delay: 3 ms", "trace: {up: a.csv, down: a.csv}")
    found = cells(write(tmp_path, text), overrides=(Override("theta", "3 s"), Override("links.1.trace.up", "b.csv")))
    assert input_files(found) == (tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "small.yaml")


def test_inputs_keep_their_paths_below_the_root(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    files = [tmp_path / "in" / "one", tmp_path / "in" / "deep" / "two"]
    for file in files:
        file.write_text(file.name)
    root = tmp_path / "root"
    unpack_inputs(pack_inputs(files, tmp_path / "somewhere"), root)
    assert [Path(f"{root}{file}").read_text() for file in files] == ["one", "two"]
    assert Path(f"{root}{tmp_path}/somewhere").is_dir()
    cell = cells(write(tmp_path))[0]
    moved = below(cell, root, tmp_path / "run")
    assert moved.settings.topology == Path(f"{root}{tmp_path}/small.yaml")
    assert (moved.path, moved.spec.text) == (tmp_path / "run", "uniform")


def test_inputs_have_a_limit(tmp_path, monkeypatch):
    (tmp_path / "large").write_bytes(b"0" * 1001)
    monkeypatch.setattr(luggage, "MAX_INPUT_BYTES", 1000)
    with pytest.raises(InputError, match="do not travel") as caught:
        pack_inputs([tmp_path / "large"], tmp_path)
    assert "absolute path" in caught.value.hint
    with pytest.raises(InputError, match="none: cannot be read"):
        pack_inputs([tmp_path / "none"], tmp_path)


def test_a_run_directory_arrives_as_it_was(tmp_path):
    run, root = tmp_path / "run", tmp_path / "root"
    run.mkdir()
    (run / "tasks.jsonl").write_bytes(bytes(range(256)) * 4000)
    (run / "manifest.json").write_text(f'{{"policy": "{root}/home/own.py:Own"}}')
    packed = pack_run(run, root)
    assert len(packed) < 200_000
    unpack_run(packed, tmp_path / "out" / "seed-7")
    assert (tmp_path / "out" / "seed-7" / "tasks.jsonl").read_bytes() == (run / "tasks.jsonl").read_bytes()
    assert (tmp_path / "out" / "seed-7" / "manifest.json").read_text() == '{"policy": "/home/own.py:Own"}'
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["seed-7"]
    assert pack_run(tmp_path / "none", root) == b""


def archive(*entries):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for name, kind in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 3 * (kind == tarfile.REGTYPE)
            made.addfile(entry, io.BytesIO(b"abc"))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../escaped", tarfile.REGTYPE), ("/tmp/escaped", tarfile.REGTYPE), ("a/b", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE), ("link", tarfile.LNKTYPE), ("folder", tarfile.DIRTYPE), ("pipe", tarfile.FIFOTYPE),
        ("..", tarfile.REGTYPE),
    ],
)  # fmt: skip
def test_a_run_directory_holds_plain_files_only(tmp_path, name, kind):
    with pytest.raises(TestbedError, match=r"cannot be gathered|something else than a run directory"):
        unpack_run(archive(("tasks.jsonl", tarfile.REGTYPE), (name, kind)), tmp_path / "out" / "seed-7")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("damage", [slice(4), slice(30), slice(60)])
def test_a_damaged_run_directory_leaves_nothing(tmp_path, damage):
    packed = archive(("tasks.jsonl", tarfile.REGTYPE), ("summary.json", tarfile.REGTYPE))
    with pytest.raises(TestbedError, match="cannot be gathered"):
        unpack_run(packed[damage], tmp_path / "out" / "seed-7")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_directory_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(luggage, "MAX_RUN_BYTES", 5)
    with pytest.raises(TestbedError, match="something else"):
        unpack_run(archive(("a", tarfile.REGTYPE), ("b", tarfile.REGTYPE)), tmp_path / "out" / "seed-7")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped"])
def test_inputs_stay_below_the_root(tmp_path, name):
    with pytest.raises(TestbedError, match="leads elsewhere"):
        unpack_inputs(archive((name, tarfile.REGTYPE)), tmp_path / "root")
    assert not (tmp_path / "root").exists()
