import csv
import io
import math

from partinr.base.numbers import write
from partinr.report import collect, summary_rows
from partinr.report.columns import columns_of
from partinr.report.groups import Study
from partinr.report.significance import marked
from partinr.report.table import rows, to_csv
from partinr.runs.layout import CURVE_COLUMNS


def curve(psnr, seconds):
    return [{**dict.fromkeys(CURVE_COLUMNS, 0), "step": 10 * i, "seconds": seconds * i, "psnr": float(p)}
            for i, p in enumerate(psnr)]  # fmt: skip


def test_numbers_are_for_people():
    for number, form, text in [
        (794_097, "si", "794k"),
        (87_040, "si", "87.0k"),
        (1_234_567, "si", "1.23M"),
        (999_700, "si", "1.00M"),
        (512, "si", "512"),
        (0, "si", "0"),
        (0.0221, "milli", "22.1"),
        (33.14, "significant", "33.1"),
        (1234.4, "significant", "1,234"),
        (9.999, "significant", "10.0"),
        (31.204, "fixed:2", "31.20"),
        (743.2, "steps", "743"),
        (math.inf, "fixed:2", "∞"),
    ]:
        assert write(number, form) == text


def test_a_deviation_is_written_like_its_mean(write_run, tmp_path):
    for seed, end in enumerate((30.0, 31.0)):
        write_run(tmp_path / str(seed), seed=seed, rows=curve([0, end], 2.0))
    (row,) = rows(Study.of(collect([tmp_path])))
    assert str(row.cells["psnr"]) == "30.50 ± 0.71"
    assert str(row.cells["seconds"]) == "2.00 ± 0.00"
    assert str(row.cells["seconds_per_step"]) == "200 ± 0"
    assert str(row.cells["regions"]) == "1"
    assert row.cells["steps_25"].text == "8.2"
    assert row.cells["steps_30"].text == "9.8"
    assert row.cells["steps_35"].text == "–"


def test_what_some_seeds_reach_is_counted(write_run, tmp_path):
    for seed, end in enumerate((24.0, 26.0, 27.0)):
        write_run(tmp_path / str(seed), seed=seed, rows=curve([0, end], 1.0))
    (row,) = rows(Study.of(collect([tmp_path])))
    assert row.cells["steps_25"].text == "2/3"
    assert row.cells["seconds_25"].text == "2/3"


def bold(folder):
    study = Study.of(collect([folder]))
    return marked(rows(study), columns_of(study))[0]


def test_the_best_is_marked_within_an_image(study):
    found = [(row.group.image, row.group.label) for row in bold(study) if row.cells["psnr"].best]
    # The two completed runs on the other image are too few to tell.
    assert found == [("astronaut", "grid #16")]


def test_what_reads_alike_is_marked_alike_and_all_alike_not_at_all(write_run, tmp_path):
    for regions, end in ((1, 20.0), (4, 30.001), (9, 30.002)):
        write_run(tmp_path / str(regions), regions=regions, rows=curve([0, end], 1.0))
    table = bold(tmp_path)
    assert [row.cells["psnr"].best for row in table] == [False, True, True]
    assert not any(row.cells["seconds_per_step"].best for row in table)


def test_the_time_of_the_partition_counts_on_both_sides(write_run, tmp_path):
    # The lone network takes 10 s to its end, at which the other is after 2 s.
    write_run(tmp_path / "a", rows=curve([0, 20], 10.0))
    write_run(tmp_path / "b", regions=4, rows=curve([0, 20, 30], 2.0), facts={"seconds": {"partition": 3.0}})
    write_run(tmp_path / "c", regions=9, rows=curve([0, 20, 30], 2.0), facts={"seconds": {}, "partition": None})
    lone, timed, untold = rows(Study.of(collect([tmp_path])))
    assert (lone.cells["lone_total_ratio"].text, timed.cells["lone_total_ratio"].text) == ("1", "2.00")
    assert timed.cells["lone_time_ratio"].text == untold.cells["lone_time_ratio"].text == "5.00"
    assert (timed.cells["partition_seconds"].text, timed.cells["map_bits"].text) == ("3.00", "5.00k")
    # A run of which the time is not known has no such ratio, rather than one that leaves it out.
    assert [untold.cells[key].text for key in ("lone_total_ratio", "partition_seconds", "map_bits")] == ["–"] * 3


def test_a_run_that_goes_on_is_not_the_best(write_run, tmp_path):
    write_run(tmp_path / "a", rows=curve([0, 20], 1.0))
    write_run(tmp_path / "b", regions=4, rows=curve([0, 21], 1.0))
    write_run(tmp_path / "c", regions=9, rows=curve([0, 40], 1.0), status="running")
    assert [row.cells["psnr"].best for row in bold(tmp_path)] == [False, True, False]


def test_seams_have_a_table_where_there_are_any(write_run, study, tmp_path):
    assert not [column for column in columns_of(Study.of(collect([study]))) if column.table == "seams"]
    seam = {"band": 0.25, "psnr_band": 24.5, "psnr_inside": 30.25, "jump_ratio": 1.5, "jump_error": 0.0123}
    for regions, own in ((1, {"psnr_band": None}), (4, {**seam, "gradient_error": None})):
        write_run(tmp_path / str(regions), regions=regions, facts={"metrics": {"psnr": 30.0, "ssim": 0.5, "seam": own}})
    lone, parts = rows(found := Study.of(collect([tmp_path])))
    cells = {column.key: parts.cells[column.key].text for column in columns_of(found) if column.table == "seams"}
    assert cells == {
        "seam_band": "0.25",
        "seam_psnr_band": "24.50",
        "seam_psnr_inside": "30.25",
        "seam_jump_ratio": "1.50",
        "seam_jump_error": "0.0123",
        "seam_gradient_ratio": "–",
        "seam_gradient_error": "–",
    }
    assert lone.cells["seam_psnr_band"].text == "–"


def test_csv_has_every_group_and_every_digit(study):
    found = Study.of(collect([study]))
    lines = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [(line["image"], line["group"]) for line in lines] == [(g.image, g.label) for g in found.groups]
    assert {column.key for column in columns_of(found)} < set(lines[0])
    mean = found.groups[0].stat(lambda record: record.final("psnr")).mean
    assert float(lines[0]["psnr"]) == mean
    assert (lines[3]["seeds"], lines[3]["state"]) == ("2", "2 completed, 1 running")


def test_summary_is_a_table_of_text(write_run, study, tmp_path):
    lines = summary_rows(collect([study]))
    assert len(lines) == 8
    assert len({tuple(line) for line in lines}) == 1
    assert lines[0]["group"] == "astronaut · none"
    write_run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text("{")
    alone, damaged = summary_rows(collect([tmp_path]))
    assert "× steps" not in alone
    assert (damaged["group"], damaged["state"]) == ("b", "damaged")
