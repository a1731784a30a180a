import math

import numpy as np
import pytest

from partinr.report import collect
from partinr.report.curves import MeanCurve
from partinr.report.groups import Study
from partinr.report.stats import Stat
from partinr.runs.layout import CURVE_COLUMNS


def rows(psnr, steps=None, pace=1.0):
    steps = range(len(psnr)) if steps is None else steps
    blank = dict.fromkeys(CURVE_COLUMNS, 0)
    return [{**blank, "step": s, "seconds": s * pace, "macs": s * 10, "psnr": float(p)} for s, p in zip(steps, psnr)]  # noqa: B905


def study_of(folder) -> Study:
    return Study.of(collect([folder]))


def test_runs_that_differ_in_the_seed_are_one_group(study):
    found = study_of(study)
    assert found.images == ("astronaut", "coffee")
    assert [group.label for group in found.on("coffee")] == ["none", "grid #4", "grid #9", "grid #16"]
    assert found.groups[0].name == "astronaut · none"
    assert [group.n for group in found.groups] == [3, 3, 3, 2, 3, 3, 3, 2]
    assert sum(len(group.records) for group in found.groups) == 24


def test_only_completed_runs_count_where_there_are_any(study):
    states = {group.name: group.state for group in study_of(study).groups if group.n == 2}
    assert states == {"astronaut · grid #16": "2 completed, 1 running", "coffee · grid #16": "2 completed, 1 failed"}


def test_a_group_without_a_completed_run_is_provisional(write_run, tmp_path):
    write_run(tmp_path / "a", status="running", steps=20)
    write_run(tmp_path / "b", status="failed", rows=[], seed=1)
    (group,) = study_of(tmp_path).groups
    assert (group.provisional, group.n, group.state) == (True, 1, "1 running, 1 failed")


def test_a_repeated_seed_counts_once_and_is_told(write_run, tmp_path):
    write_run(tmp_path / "a", facts={"finished": "2026-11-23T14:00:00+00:00"})
    write_run(tmp_path / "b", facts={"finished": "2026-11-23T13:00:00+00:00"})
    found = study_of(tmp_path)
    assert [run.path.name for run in found.groups[0].counted] == ["a"]
    assert "Not counted, as another run with the same configuration and seed counts: b." in found.notices


def test_a_rerun_does_not_stand_for_its_original(write_run, tmp_path):
    write_run(tmp_path / "a", facts={"finished": "2026-11-23T13:00:00+00:00"})
    write_run(tmp_path / "a_rerun", facts={"finished": "2026-11-23T14:00:00+00:00", "repeats": "a"})
    found = study_of(tmp_path)
    assert [run.path.name for run in found.groups[0].counted] == ["a"]
    assert any(notice.endswith(" counts: a_rerun.") for notice in found.notices)


def test_mean_and_deviation_are_of_the_sample():
    stat = Stat.of([1.0, 2.0, 6.0])
    assert (stat.mean, stat.n) == (3.0, 3)
    assert stat.std == pytest.approx(math.sqrt(7))
    assert Stat.of([1.0]).std is None
    assert Stat.of([1.0, None, math.nan]) == Stat(None, None, 1, 3)
    assert Stat.of([math.inf, 1.0]) == Stat(math.inf, None, 2, 2)
    assert Stat.of([]) == Stat(None, None, 0, 0)


def test_a_mean_curve_ends_with_the_shortest_run(write_run, tmp_path):
    write_run(tmp_path / "a", seed=0, rows=rows([10, 20, 30, 40], [0, 2, 4, 8]))
    write_run(tmp_path / "b", seed=1, rows=rows([12, 22, 27], [0, 2, 3], pace=3))
    mean = MeanCurve.of(collect([tmp_path]))
    np.testing.assert_allclose(mean.step, [0, 2, 3])
    np.testing.assert_allclose(mean.mean, [11, 21, 26])
    np.testing.assert_allclose(mean.seconds, [0, 4, 6])
    assert mean.std is not None
    np.testing.assert_allclose(mean.std, [math.sqrt(2)] * 3)


def test_a_mean_curve_has_finite_evaluations_only(write_run, tmp_path):
    write_run(tmp_path / "a", rows=rows([10, math.nan, 30, math.inf]))
    np.testing.assert_allclose(MeanCurve.of(collect([tmp_path])).mean, [10, 30])
    write_run(tmp_path / "b", seed=1, rows=[])
    assert MeanCurve.of(collect([tmp_path])).step.size == 0


def test_speed_up_is_to_the_final_psnr_of_the_lone_network_seed_by_seed(write_run, tmp_path):
    write_run(tmp_path / "n0", seed=0, rows=rows([0, 10, 20], [0, 50, 100]))
    write_run(tmp_path / "n1", seed=1, rows=rows([0, 10, 24], [0, 50, 100]))
    write_run(tmp_path / "g0", seed=0, regions=4, rows=rows([0, 40], [0, 100], pace=2))
    write_run(tmp_path / "g1", seed=1, regions=4, rows=rows([0, 48], [0, 100], pace=2))
    found = study_of(tmp_path)
    lone, grid = found.groups
    versus = found.versus(grid)
    assert versus is not None
    assert versus.lone is lone
    assert versus.level == 22
    assert versus.effort["step"].mean == pytest.approx(50)
    assert versus.ratio["step"] == Stat(2.0, 0.0, 2, 2)
    assert versus.ratio["seconds"].mean == pytest.approx(1.0)
    assert versus.gain.mean == pytest.approx(22)
    own = found.versus(lone)
    assert own is not None
    assert own.ratio["step"].mean == 1


def test_a_seed_that_the_lone_network_lacks_is_held_against_its_mean(write_run, tmp_path):
    write_run(tmp_path / "n0", seed=0, rows=rows([0, 20], [0, 100]))
    write_run(tmp_path / "g7", seed=7, regions=4, rows=rows([0, 80], [0, 100]))
    found = study_of(tmp_path)
    versus = found.versus(found.groups[1])
    assert versus is not None
    assert versus.ratio["step"].mean == pytest.approx(4)


def test_the_lone_networks_effort_is_where_it_first_came_to_its_end(write_run, tmp_path):
    write_run(tmp_path / "n", rows=rows([0, 30, 20], [0, 30, 100]))
    write_run(tmp_path / "g", regions=4, rows=rows([0, 20], [0, 10]))
    found = study_of(tmp_path)
    versus = found.versus(found.groups[1])
    assert versus is not None
    assert versus.ratio["step"].mean == pytest.approx(2)


def test_a_level_that_one_seed_misses_has_no_mean(write_run, tmp_path):
    write_run(tmp_path / "n", rows=rows([0, 20]))
    write_run(tmp_path / "g0", regions=4, rows=rows([0, 25]))
    write_run(tmp_path / "g1", regions=4, seed=1, rows=rows([0, 15]))
    found = study_of(tmp_path)
    versus = found.versus(found.groups[1])
    assert versus is not None
    assert versus.effort["step"] == Stat(None, None, 1, 2)


@pytest.mark.parametrize("key", ["optimizer.lr", "max_steps", "engine"])
def test_another_configuration_is_no_lone_network(write_run, tmp_path, key):
    write_run(tmp_path / "n", settings={key: 77})
    write_run(tmp_path / "g", regions=4)
    found = study_of(tmp_path)
    assert [found.versus(group) for group in found.groups] == [None, None]


@pytest.mark.parametrize(
    "settings", [{"backbone.hidden_features": 512}, {"coords.frame": "local"}, {"capacity": "area"}]
)
def test_width_frame_and_capacity_may_differ_from_the_lone_network(write_run, tmp_path, settings):
    write_run(tmp_path / "n", settings=settings)
    write_run(tmp_path / "g", regions=4)
    found = study_of(tmp_path)
    assert found.versus(found.groups[1]) is not None


def test_of_several_lone_networks_the_nearest_in_parameters_is_taken(write_run, tmp_path):
    for name, regions, parameters in (("a", 1, 25_000), ("b", 1, 100_000), ("c", 4, 99_000)):
        settings = {"backbone.hidden_features": parameters}
        write_run(tmp_path / name, regions=regions, settings=settings, facts={"parameters": parameters})
    found = study_of(tmp_path)
    versus = found.versus(found.groups[2])
    assert versus is not None
    assert versus.parameters == pytest.approx(100 / 99)


def test_images_are_told_apart_by_their_content(write_run, tmp_path):
    for name, signal in {
        "a": {"name": "lena", "shape": [64, 64, 3], "sha256": "1"},
        "b": {"name": "lena", "shape": [32, 48, 3], "sha256": "2"},
        "c": {"name": "lenna.png", "shape": [64, 64, 3], "sha256": "1"},
    }.items():
        write_run(tmp_path / name, seed=ord(name), facts={"signal": signal})
    found = study_of(tmp_path)
    assert found.images == ("lena 64×64", "lena 32×48")
    assert [len(found.on(image)) for image in found.images] == [1, 1]
    assert found.on("lena 64×64")[0].n == 2


def test_a_run_that_failed_before_it_read_its_image_is_with_the_others(write_run, tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1, status="failed", message="no memory", rows=[], facts={"signal": None})
    write_run(tmp_path / "c", image="lost", status="failed", message="no file", rows=[], facts={"signal": None})
    assert study_of(tmp_path).images == ("astronaut", "lost")


def test_other_machines_and_other_code_are_told(write_run, tmp_path):
    write_run(tmp_path / "a")
    assert study_of(tmp_path).notices == ()
    elsewhere = {"hardware": {"device": "cuda", "gpu": "H200"}, "git": {"commit": "f" * 40}}
    write_run(tmp_path / "b", seed=1, facts=elsewhere)
    machines, code = study_of(tmp_path).notices
    assert "H200" in machines
    assert "seconds" in machines
    assert "ffffffffff" in code


def test_a_key_that_older_runs_lack_is_none_if_it_is_null(write_run, tmp_path):
    for seed, settings in enumerate([{}, {"partition.pattern": None}, {"partition.pattern": "{stem}_mask"}]):
        write_run(tmp_path / str(seed), seed=seed, regions=4, settings=settings)
    assert [group.n for group in study_of(tmp_path).groups] == [2, 1]


def test_several_devices_are_another_setting(write_run, tmp_path):
    write_run(tmp_path / "a")
    cpu = {"cpu": "AMD EPYC 7763", "threads": 2}
    write_run(tmp_path / "b", seed=1, facts={"hardware": {"devices": 3, "device": "cpu", **cpu}})
    write_run(tmp_path / "c", seed=2, facts={"hardware": {"devices": 3, "device": "cuda:0", "gpu": "H200", **cpu}})
    (machines,) = study_of(tmp_path).notices
    assert "AMD EPYC 7763, 2 threads; AMD EPYC 7763, 3 × 2 threads; 3 × H200" in machines


def test_what_a_partition_has_to_say_is_told_once(write_run, tmp_path):
    said = {"bits": 800, "notice": "partition=semantic found 2 regions in this signal, fewer than the 9 asked for"}
    for seed in range(3):
        write_run(tmp_path / str(seed), regions=2, seed=seed, facts={"partition": said})
    (notice,) = study_of(tmp_path).notices
    assert notice == f"astronaut: {said['notice']}."


def test_pictures_are_of_the_median_seed(write_run, tmp_path):
    for seed, psnr in enumerate([30, 10, 20]):
        write_run(tmp_path / str(seed), seed=seed, rows=rows([0, psnr]))
    median = study_of(tmp_path).groups[0].median()
    assert median is not None
    assert median.seed == 2


def known_by(**digests):
    return {"signal": {"name": "photo", "shape": [8, 8, 3], **digests}}


def test_runs_are_of_one_image_if_any_digest_is_the_same(write_run, tmp_path):
    here = {"sha256": "a", "pixels_sha256": "p"}
    write_run(tmp_path / "here", facts=known_by(**here))
    write_run(tmp_path / "another processor", regions=4, facts=known_by(sha256="b", pixels_sha256="p"))
    write_run(tmp_path / "older version", regions=9, facts=known_by(sha256="b"))
    write_run(tmp_path / "another image", regions=16, facts=known_by(sha256="c", pixels_sha256="q"))
    found = study_of(tmp_path)
    assert [len(found.on(image)) for image in found.images] == [1, 3]
    assert found.notices == ()


def test_a_file_that_was_decoded_in_two_ways_is_one_image_and_told(write_run, tmp_path):
    for number, (pixels, size) in enumerate([("p", 8), ("q", 8), ("r", 9)]):
        facts = known_by(pixels_sha256=pixels, file_sha256="f", sha256=pixels, decoder=f"Pillow {number}")
        write_run(tmp_path / pixels, facts=facts, settings={"data.size": size, "data.path": "/photos/photo.jpg"})
    found = study_of(tmp_path)
    assert [len(found.on(image)) for image in found.images] == [1, 1]
    notice, not_counted = found.notices
    assert not_counted.startswith("Not counted")
    assert notice.startswith("photo.jpg: the same file was decoded differently, by Pillow 0 and by Pillow 1;")


def test_runs_that_read_other_files_are_not_pooled(write_run, tmp_path):
    def run(name, content, **more):
        facts = {} if content is None else {"inputs": {"partition.path": content * 64, "data.path": name * 64}}
        settings = {"partition._target_": "partinr.partition.Mask", "partition.path": "/maps/m.npy"}
        write_run(tmp_path / name, regions=4, pictures=None, facts=facts, settings=settings, **more)

    run("a", "1", seed=0)
    run("b", None, seed=1)
    # What is unknown of a run does not set it apart; nor does another map of another image.
    run("c", "2", image="coffee")
    assert [group.label for group in study_of(tmp_path).groups] == ["mask #4", "mask #4"]
    assert "differ only" not in " ".join(study_of(tmp_path).notices)
    run("d", "3", seed=0)
    found = study_of(tmp_path)
    labels = {group.label: group.n for group in found.on("astronaut")}
    assert labels == {"mask #4 · m.npy 111111": 1, "mask #4 · m.npy 333333": 1, "mask #4 · m.npy unknown": 1}
    assert [group.label for group in found.on("coffee")] == ["mask #4"]
    assert "3 groups differ only in the content of partition.path." in found.notices
    assert not any("Not counted" in notice for notice in found.notices)
