"""``partinr doctor``: what an extra has, lacks, or has in another version."""

from __future__ import annotations

from partinr.cli.doctor import extras

REQUIRED = ("torch>=2", "rich>=1; extra == 'there'", "rich>=9999; extra == 'old'", "missing-one; extra == 'gone'")
ALL = tuple(f"{each.partition(';')[0]}; extra == 'all'" for each in REQUIRED[1:])


def test_each_extra_of_users() -> None:
    found = {each.what: each for each in extras([*REQUIRED, *ALL, "rich>=1; extra == 'dev'", "ruff; extra == 'dev'"])}
    assert list(found) == ["extra gone", "extra old", "extra there"]
    assert found["extra gone"].found == "no missing-one; pip install 'partinr[gone]'"
    assert found["extra old"].found.endswith("does not fit >=9999; pip install 'partinr[old]'")
    assert [each.optional for each in found.values()] == [True, True, False]
    assert not any(each.cure for each in found.values())
