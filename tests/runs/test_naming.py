import copy
import random
from functools import partial
from typing import Any

from partinr.base.text import natural
from partinr.runs.configs import flatten, without_image
from partinr.runs.naming import compact, facets, labels, titles, word

BASE: dict[str, Any] = {
    "seed": 0,
    "max_steps": 100,
    "output_dir": "outputs",
    "data": {"_target_": "partinr.signals.ImageData", "name": "astronaut"},
    "partition": {"_target_": "partinr.partition.Grid", "rows": None, "cols": None, "regions": 9},
    "backbone": {"_target_": "partinr.backbones.Siren", "hidden_features": 170, "omega_0": 30.0, "match_params": None},
    "optimizer": {"_target_": "partinr.regimes.Optimizer", "name": "adam", "lr": 1e-4},
    "trainer": {"_target_": "lightning.Trainer", "max_steps": 100},
}
NONE = {"_target_": "partinr.partition.Whole"}


def changed(**changes: Any) -> dict[str, Any]:
    config = copy.deepcopy(BASE)
    for key, value in changes.items():
        *above, name = key.split("__")
        section = config
        for part in above:
            section = section[part]
        section[name] = value
    return config


def named(*configs: dict[str, Any], regions: list[set[int]] | None = None) -> list[str]:
    flats = [without_image(flatten(config, config["seed"])) for config in configs]
    counts = [1 if c["partition"] == NONE else c["partition"].get("regions") for c in configs]
    return labels(flats, regions or [{count} if count else set() for count in counts])


def test_a_partition_alone_is_named_in_the_notation_of_the_field():
    assert named(changed(partition=NONE), BASE, changed(partition__regions=16)) == ["none", "grid #9", "grid #16"]


def test_only_what_differs_is_in_a_name():
    assert named(BASE) == ["grid #9"]
    assert named(BASE, changed(optimizer__lr=1e-3)) == ["lr 1e-4", "lr 1e-3"]
    assert named(changed(partition=NONE), changed(optimizer__lr=1e-3)) == ["none · lr 1e-4", "grid #9 · lr 1e-3"]


def test_a_value_of_one_run_is_in_its_name_alone():
    parts = [changed(capacity="equal", partition__regions=count) for count in (4, 9, 16)]
    names = ["grid #4", "grid #9", "grid #16"]
    assert named(*parts, changed(capacity="area")) == [*names, "grid #9 · capacity area"]
    # With as many of the other value it is a sweep.
    others = [changed(capacity="area", partition__regions=count) for count in (4, 9, 16)]
    assert named(*parts, *others) == [f"{name} · capacity {value}" for value in ("equal", "area") for name in names]


def test_an_experiment_stands_for_its_settings():
    fast = {"optimizer__lr": 1e-2, "max_steps": 7, "backbone__omega_0": 10.0}
    configs = [BASE, changed(partition=NONE), changed(**fast), changed(**fast, partition=NONE)]
    flats = [without_image(flatten(config, 0)) for config in configs]
    counts = [{9}, {1}, {9}, {1}]
    asked: list[list[list[str]]] = [[["partition=grid"]], [[]], [["+experiment=fast"]]]
    asked.append([["experiment=fast", "partition=none"]])
    own = ["grid #9", "none", "grid #9 · experiment fast", "none · experiment fast"]
    assert labels(flats, counts, asked=asked) == own
    assert labels(flats[::2], counts[::2], asked=asked[::2]) == ["no experiment", "experiment fast"]
    assert [facet.name for facet in facets(flats, counts, asked=asked)] == ["partition", "experiment"]
    # What a run asked for itself is told, and an experiment that explains nothing is not.
    asked[2][0].append("optimizer.lr=0.01")
    assert labels(flats, counts, asked=asked)[3] == "none · experiment fast · lr 0.01"
    assert labels(flats[:2], counts[:2], asked=[asked[2], [[]]]) == ["grid #9", "none"]


def test_in_a_mixed_bag_a_name_has_what_sets_the_run_apart():
    plain = {**BASE, "overlap": 0, "steps": 50, "blend": None}
    others: list[dict[str, Any]] = [
        {"overlap": 2},
        {"optimizer__name": "muon"},
        {"optimizer__lr": 1e-3},
        {"blend": 4},
        {"partition": NONE},
    ]

    def mixed(count: int) -> list[str]:
        configs = [copy.deepcopy(plain)] + [changed(**each) for each in others[:count]]
        return named(*({**plain, **config} for config in configs))

    # Two keys: an ordinary sweep.
    assert mixed(2) == ["adam · overlap 0", "adam · overlap 2", "muon · overlap 0"]
    assert mixed(5) == [
        "grid #9",
        "grid #9 · overlap 2",
        "grid #9 · muon",
        "grid #9 · lr 1e-3",
        "grid #9 · blend 4",
        "none",
    ]


def test_of_two_values_as_frequent_both_are_said():
    plain = {**BASE, "a": 1, "b": 1, "c": 1}
    assert named(plain, {**plain, "a": 2, "b": 2, "c": 2}) == ["a 1 · b 1 · c 1", "a 2 · b 2 · c 2"]
    factorial = [{**plain, "a": a, "b": b, "c": c} for a in (1, 2) for b in (1, 2) for c in (1, 2)]
    assert named(*factorial)[::7] == ["a 1 · b 1 · c 1", "a 2 · b 2 · c 2"]


def test_an_unset_value_does_not_look_like_the_usual_one():
    plain = {**BASE, "a": 1, "b": 1, "c": 1, "d": 1}
    configs = [plain, *({**plain, key: 2} for key in "abc"), {**plain, "d": None}]
    assert named(*configs) == [
        "grid #9 · d 1", "grid #9 · a 2 · d 1", "grid #9 · b 2 · d 1", "grid #9 · c 2 · d 1", "grid #9"
    ]  # fmt: skip


def test_mixed_names_are_never_alike_and_do_not_follow_the_order_of_the_runs():
    for seed in range(20):
        chance = random.Random(seed)
        keys = "abcde"
        values = {tuple(chance.choice((0, 0, 0, 1, 2, None)) for _ in keys) for _ in range(12)}
        configs = [{**BASE, **dict(zip(keys, each, strict=True))} for each in sorted(values, key=str)]
        names = named(*configs)
        assert len(set(names)) == len(names)
        order = chance.sample(range(len(configs)), len(configs))
        assert named(*(configs[place] for place in order)) == [names[place] for place in order]


def test_what_says_nothing_of_the_run_is_no_difference():
    flats = [
        flatten(BASE, 0),
        flatten(changed(output_dir="elsewhere", ckpt_path="x", hydra={"a": 1}, logger={"name": "w"}, seed=3), 3),
        flatten(changed(seed=5, partition__seed=5), 5),
        flatten(changed(backbone__omega_0=30), 0),
    ]
    assert all(flat == flats[0] for flat in flats)


def test_a_seed_of_its_own_is_a_difference():
    assert flatten(changed(seed=5, partition__seed=1), 5) != flatten(BASE, 0)


def test_keys_of_another_backbone_are_not_in_a_name():
    relu = {"_target_": "partinr.backbones.ReluPE", "hidden_features": 148, "frequencies": 60, "match_params": None}
    assert named(BASE, changed(backbone=relu)) == ["siren", "relu_pe"]
    wider = {**relu, "hidden_features": 256}
    assert named(BASE, changed(backbone=relu), changed(backbone=wider)) == [
        "siren",
        "relu_pe · width 148",
        "relu_pe · width 256",
    ]


def test_a_width_that_follows_from_matched_parameters_is_not_in_a_name():
    matched = partial(changed, backbone__hidden_features=None)
    assert named(matched(partition=NONE, backbone__match_params=100_000), matched(backbone__match_params=100_000)) == [
        "none",
        "grid #9",
    ]
    assert named(matched(backbone__match_params=100_000), matched(backbone__match_params=25_000)) == [
        "params 100k",
        "params 25k",
    ]
    assert named(changed(partition=NONE, backbone__hidden_features=512), BASE) == [
        "none · width 512",
        "grid #9 · width 170",
    ]
    # A budget is not used if a width is given.
    assert flatten(changed(backbone__match_params=100_000)) == flatten(changed(backbone__match_params=9))
    assert named(matched(backbone__match_params=100_000), changed(backbone__match_params=100_000)) == [
        "params 100k",
        "width 170",
    ]


def test_a_value_given_twice_is_named_once():
    assert named(BASE, changed(max_steps=500, trainer__max_steps=500)) == ["steps 100", "steps 500"]


def test_names_are_never_alike():
    explicit = changed(partition__regions=None, partition__rows=3, partition__cols=3)
    first, second = named(BASE, explicit, regions=[{9}, {9}])
    assert first != second
    assert "rows 3" in second
    assert len(set(named(BASE, changed(extra={}), changed(more={})))) == 3


def test_settings_of_a_kind_are_compared_within_it():
    adam, sgd = changed(), changed(optimizer={**BASE["optimizer"], "name": "sgd", "lr": 0.1, "momentum": 0.9})
    assert named(adam, sgd) == ["adam", "sgd"]
    assert named(adam, sgd, changed(optimizer__lr=1e-3)) == ["adam · lr 1e-4", "sgd", "adam · lr 1e-3"]


def test_a_count_that_depends_on_the_image_is_a_range():
    other = changed(partition={"_target_": "partinr.partition.Semantic", "regions": None})
    assert named(BASE, other, regions=[{9}, {8, 12}]) == ["grid #9", "semantic #8–12"]


def test_numbers_in_names_are_short():
    for value, text in [
        (1e-4, "1e-4"),
        (2.5e-3, "2.5e-3"),
        (0.05, "0.05"),
        (30.0, "30"),
        (1500, "1500"),
        (100_000, "100k"),
        (2_500_000, "2.5M"),
        (794_097, "794097"),
        (0, "0"),
        (-1, "-1"),
    ]:
        assert compact(value) == text


def test_words():
    assert [word(name) for name in ("Siren", "ReluPE", "SLIC", "Grid")] == ["siren", "relu_pe", "slic", "grid"]
    assert sorted(["#16", "#9", "#4²"], key=natural) == ["#4²", "#9", "#16"]
    assert sorted(["lr 1e-3", "lr 3e-4", "lr 0.002"], key=natural) == ["lr 3e-4", "lr 1e-3", "lr 0.002"]


def found_facets(*configs: dict[str, Any]) -> dict[str, tuple[tuple[str, ...], tuple[str | None, ...]]]:
    flats = [without_image(flatten(config, config["seed"])) for config in configs]
    counts = [{1} if config["partition"] == NONE else {config["partition"]["regions"]} for config in configs]
    return {facet.name: (facet.values, facet.of) for facet in facets(flats, counts)}


def test_facets_are_the_settings_that_differ():
    assert found_facets(BASE, BASE) == {}
    found = found_facets(changed(partition=NONE), changed(partition__regions=16, optimizer__lr=1e-3), BASE)
    assert list(found) == ["partition", "lr"]
    assert found["partition"] == (("none", "grid #9", "grid #16"), ("none", "grid #16", "grid #9"))
    assert found["lr"] == (("1e-4", "1e-3"), ("1e-4", "1e-3", "1e-4"))
    # Two numbers are a size only if they are whole.
    found = found_facets(changed(partition__shape=[2, 3]), changed(optimizer__betas=[0.9, 1e-3]))
    assert [found[name][0] for name in ("shape", "betas")] == [("2×3",), ("0.9,1e-3",)]


def test_a_facet_of_another_backbone_has_no_value():
    relu = {"_target_": "partinr.backbones.ReluPE", "hidden_features": 148, "frequencies": 60, "match_params": None}
    found = found_facets(BASE, changed(backbone=relu), changed(backbone={**relu, "frequencies": 30}))
    assert found["backbone"][1] == ("siren", "relu_pe", "relu_pe")
    assert found["frequencies"] == (("30", "60"), (None, "60", "30"))


def test_a_title_is_in_a_readers_words():
    semantic = changed(partition={"_target_": "partinr.partition.Semantic", "regions": 9})
    configs = [changed(partition=NONE), BASE, changed(partition__regions=6), semantic]
    flats = [without_image(flatten(config, config["seed"])) for config in configs]
    counts: list[set[int]] = [{1}, {9}, {6}, {8, 9}]
    cuts: list[set[tuple[int, ...]]] = [{(1, 1)}, {(3, 3)}, {(2, 3), (3, 2)}, set()]
    assert titles(flats, counts, cuts) == ["no partition", "3×3 grid", "grid of 6 regions", "8–9 semantic regions"]
