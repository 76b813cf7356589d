"""The policies of a comparison as text, and the folders of their runs."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.cells.policy_specs import MAX_FOLDER_CHARACTERS, read_specs, split_policies


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dto-ee", ["dto-ee"]),
        ("dto-ee,ngto", ["dto-ee", "ngto"]),
        (" dto-ee , ngto ", ["dto-ee", "ngto"]),
        ("a:k=1,l=2,b", ["a:k=1,l=2", "b"]),
        ("a,b:k=1, l=2", ["a", "b:k=1,l=2"]),
        ("mine/p.py:Own,a", ["mine/p.py:Own", "a"]),
        ("p.py:Own:k=1,l=2,q.py:Other", ["p.py:Own:k=1,l=2", "q.py:Other"]),
        ("a:k=1,a:k=2", ["a:k=1", "a:k=2"]),
        ("a,k=1", ["a", "k=1"]),  # no policy with parameters before it: reported as an unknown policy
        ("a,,b", ["a", "", "b"]),
    ],
)
def test_a_list_is_taken_apart(text, expected):
    assert split_policies(text) == expected


def folders(*texts):
    return [spec.folder for spec in read_specs(texts)]


def test_folders_can_be_read():
    assert folders("dto-ee", "fixed-threshold:threshold=0.7") == ["dto-ee", "fixed-threshold-threshold=0.7"]


def test_a_file_is_known_by_its_content(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("class Own: ...\n")
    (spec,) = read_specs([f"{file}:Own"])
    assert (spec.label, spec.folder, spec.early_folder) == ("Own", "Own", "mine-Own")
    assert spec.file_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.py").write_text("class Own: ...\n")
    same, different = read_specs([f"{file}:Own", f"{other / 'mine.py'}:Own"])
    assert (same.label, same.folder, same.early_folder) == ("Own", "Own", "mine-Own")
    assert (different.label, different.folder) == ("Own (2)", "Own-2")
    assert different.early_folder.startswith("mine-Own-")


def test_labels_are_stated_or_told_apart(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("class Own: ...\n")
    own = f"{file}:Own"
    specs = read_specs(
        [own, f"{own}:k=2", f"{own}:k=3,label=thrice", "dto-ee", "dto-ee:label=ours,slot=2", "uniform:label=Own (2)"]
    )
    labels = ["Own", "Own:k=2", "thrice", "dto-ee", "ours", "Own (2)"]
    assert [spec.label for spec in specs] == labels
    assert [spec.folder for spec in specs] == ["Own", "Own-k=2", "thrice", "dto-ee", "ours", "Own-2"]
    link = tmp_path / "link.py"
    link.write_text("class Own: ...\nclass own: ...\n")
    third = [spec.label for spec in read_specs([own, f"{link}:Own", "uniform:label=Own (2)"])]
    assert third == ["Own", "Own (3)", "Own (2)"]
    assert [spec.label for spec in read_specs(["dto-ee", "uniform:label=dto-ee"])] == ["dto-ee (2)", "dto-ee"]


@given(st.lists(st.text(st.characters(blacklist_characters="=:"), min_size=1, max_size=200), min_size=1, unique=True))
def test_folders_are_safe_and_distinct(texts):
    texts = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    texts = [text for text in texts if not text.endswith(".py")]  # names a file, which is read
    if not texts:
        return
    found = folders(*texts)
    assert len(set(found)) == len(found)
    for folder in found:
        assert 0 < len(folder) <= MAX_FOLDER_CHARACTERS + 7
        assert "/" not in folder
        assert folder.isascii()
        assert not folder.startswith(".")


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "no policy to compare"),
        ([""], "empty entry"),
        (["a", " "], "empty entry"),
        (["a", "b", "a "], "policy a is listed twice"),
        (["a:k=1,l=2", "a:l=2,k=1.0"], r"policy a:l=2,k=1.0 is listed twice \(as a:k=1,l=2\)"),
        (["a", "a:"], r"policy a: is listed twice \(as a\)"),
        (["/no/such/file.py:Own"], "cannot be read: No such file"),
        (["a:label=x", "b:label=x"], "policies a:label=x and b:label=x have the same label"),
        (["a:label=x", "a:label=y"], r"policy a:label=y is listed twice \(as a:label=x\)"),
        (["a:k"], "not of the form key=value"),
    ],
)
def test_bad_lists_are_refused(texts, said):
    with pytest.raises(InputError, match=said) as caught:
        read_specs(texts)
    assert caught.value.hint
