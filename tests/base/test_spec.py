"""Specs: strict, frozen, and one line where they refuse."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from tests.covering import cases


@spec
class Base:
    kind: ClassVar[str] = "a class's, no option"
    count: Annotated[int, Field(ge=1)] = 3
    rate: float = 0.5
    name: str | None = None
    mode: Literal["one", "two"] = "one"
    extra: dict[str, Any] = Field(default_factory=dict)


@spec
class Derived(Base):
    needed: int
    last: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=3)] = Field(default_factory=list)

    def __post_init__(self) -> None:
        if self.needed > self.count:
            raise PartinrError("needed is more than count; give less")


@spec
class Empty:
    pass


def test_made_with_keywords_and_defaults():
    made = Derived(needed=2)
    assert (made.count, made.rate, made.name, made.mode, made.extra, made.last) == (3, 0.5, None, "one", {}, [])
    assert Derived(needed=2) == made
    assert Derived(needed=1) != made


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Base().count = 4  # type: ignore[misc]


def test_defaults_are_not_shared():
    assert Base().extra is not Base().extra


def test_refused_in_one_short_line():
    for options, said in cases(
        ({"count": "3"}, r"Base\.count='3'"),
        ({"count": 3.0}, r"Base\.count=3\.0"),
        ({"count": 3.5}, r"Base\.count=3\.5"),
        ({"count": True}, r"Base\.count=True"),
        ({"count": None}, r"Base\.count=None"),
        ({"count": 0}, r"Base\.count=0: should be greater than or equal to 1"),
        ({"rate": "0.5"}, r"Base\.rate='0\.5'"),
        ({"rate": True}, r"Base\.rate=True"),
        ({"name": 3}, r"Base\.name=3"),
        ({"mode": "three"}, r"Base\.mode='three': should be 'one' or 'two'"),
        ({"counts": 3}, r"^there is no option Base\.counts; did you mean count\?$"),
        ({"kind": "x"}, r"^there is no option Base\.kind$"),
        ({"count": 0, "mode": 1}, r"Base\.count=0.*; Base\.mode=1"),
        ({"rate": np.zeros((3, 3))}, r"Base\.rate=array"),
        ({"rate": torch.zeros(300, 3)}, r"Base\.rate=tensor"),
        ({"name": {str(i): i for i in range(1000)}}, r"Base\.name="),
    ):
        with pytest.raises(PartinrError, match=said) as caught:
            Base(**options)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


def test_a_whole_number_is_a_valid_float():
    assert Base(rate=1).rate == 1.0


def test_nested_values_are_checked():
    assert Derived(needed=1, last=[1, 2]).last == [1, 2]
    with pytest.raises(PartinrError, match=r"Derived\.last\.1=0"):
        Derived(needed=1, last=[1, 0])


def test_a_missing_option_is_named():
    with pytest.raises(PartinrError, match=r"the option Derived\.needed is missing"):
        Derived()  # type: ignore[call-arg]


def test_what_post_init_says_is_said_alone():
    with pytest.raises(PartinrError) as caught:
        Derived(needed=9)
    assert str(caught.value) == "needed is more than count; give less"


def test_positional_arguments_are_refused_with_the_names():
    with pytest.raises(PartinrError, match=r"^Base takes keyword arguments only, such as count=…, rate=…$"):
        Base(3)  # type: ignore[call-arg]
    with pytest.raises(PartinrError, match=r"^Empty takes no arguments$"):
        Empty(3)  # type: ignore[call-arg]


def test_replaced_copied_and_pickled():
    made = Derived(needed=2, extra={"a": [1]})
    assert dataclasses.replace(made, needed=1) == Derived(needed=1, extra={"a": [1]})
    with pytest.raises(PartinrError, match="needed is more than count"):
        dataclasses.replace(made, needed=9)
    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(Empty())) == Empty()
    assert dataclasses.asdict(made)["extra"] == {"a": [1]}
