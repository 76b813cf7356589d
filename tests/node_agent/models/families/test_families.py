"""A family is a module of its room: it is found by name, and needs no other change."""

import subprocess
import sys

import pytest

from node_agent.errors import InputError
from node_agent.models import families, load_bundle
from node_agent.models.bundles.writing import write_bundle
from node_agent.models.families import family_class, family_names, variants
from node_agent.models.families.glyphs import GlyphsNetwork
from node_agent.models.training.tasks import job_for
from tests.node_agent.models.own_models import STRIPES


def test_the_names_of_families_load_no_torch():
    listed = "print('glyphs' in family_names(), 'torch' in sys.modules)"
    code = f"import sys; from node_agent.models.families import family_names; {listed}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


def test_the_family_of_the_shipped_models(shipped):
    assert shipped.family == "glyphs"
    assert family_class("glyphs") is GlyphsNetwork is shipped.network_class()
    assert variants()[shipped.name][0] == "glyphs"


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="no family of models 'glyph'") as caught:
        family_class("glyph")
    assert "did you mean glyphs?" in caught.value.hint


def test_a_module_in_the_room_is_a_family(tmp_path, monkeypatch):
    (tmp_path / "coloured_stripes.py").write_text(STRIPES)
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "node_agent.models.families.coloured_stripes", raising=False)
    assert {"coloured-stripes", "glyphs"} <= set(family_names())
    content = job_for("coloured-stripes", epochs=1).run(tmp_path / "none")
    write_bundle(tmp_path / "new", content)
    bundle = load_bundle(str(tmp_path / "new"))
    assert bundle.family == "coloured-stripes"
    assert len(bundle.sub_models((1, 2), "float32")) == 2
    sys.modules.pop("node_agent.models.families.coloured_stripes")


def test_a_module_without_a_network_is_a_fault_of_the_program(tmp_path, monkeypatch):
    (tmp_path / "empty.py").write_text("")
    monkeypatch.setattr(families, "__path__", [str(tmp_path)])
    with pytest.raises(TypeError, match="holds 0 classes derived from EarlyExitModel"):
        family_class("empty")
    sys.modules.pop("node_agent.models.families.empty")
