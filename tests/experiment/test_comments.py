"""The comments of YAML files: those of keys behind a composed configuration, and what a file is for."""

import pytest
import yaml

from partinr.experiment import plugins
from partinr.experiment.comments import by_key, commented, read_comments

FILE = """\
# @package _global_
# What it is for (Liu et al., 2023). More of it.
#   partinr experiment=x
defaults:
  - other # a choice

# Above
# the key.
a: 1 # the first
b:
  c: text # said
  d: null
"""


def test_a_file_says_what_it_is_for_and_what_its_keys_are() -> None:
    comments = read_comments(FILE)
    assert comments.summary == "What it is for (Liu et al., 2023)"
    assert by_key([(FILE, ""), ("d: 2 # of another", "b"), ("c: 3", "b")]) == {
        "a": "the first. Above the key.",
        "b.c": "said",
        "b.d": "of another",
    }


def test_comments_leave_the_values_as_they_are() -> None:
    values = {"a": 1, "b": {"c": "long " * 40, "d": [1, {"c": 2}], "e": "one\ntwo: three\n"}, "c": None, "f": "x # y"}
    text = yaml.safe_dump(values, default_flow_style=False)
    said = {key: f"about {key}" for key in ("a", "b", "b.c", "b.d", "b.e", "c", "f")}
    result = commented(text, said)
    assert yaml.safe_load(result) == values
    for key in ("a", "b", "c", "b.d", "f"):
        assert f"  # about {key}\n" in result
    assert commented("c: 1\n", said, "b") == "c: 1  # about b.c\n"


@pytest.mark.parametrize("group", ["experiment", "case"])
def test_every_choice_within_a_study_has_a_line(group: str) -> None:
    found = plugins.described(group)
    assert set(found) == set(plugins.groups()[group])
    width = max(map(len, found))
    for name, said in found.items():
        assert 10 < len(said) <= 100 - width - 4, name
