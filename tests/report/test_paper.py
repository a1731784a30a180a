"""Tables for a paper: bold by significance, chosen columns and rows, words, and a terminal."""

import re

import pytest

from partinr.base.errors import PartinrError
from partinr.report import Layout, Wording, collect, make_report, make_table
from partinr.report.columns import columns_of
from partinr.report.export import table_text
from partinr.report.groups import Study
from partinr.report.plain import unstyled
from partinr.report.significance import marked
from partinr.report.table import rows
from partinr.runs.layout import CURVE_COLUMNS


def curve(end):
    return [{**dict.fromkeys(CURVE_COLUMNS, 0), "step": 10 * i, "seconds": 2.0 * i, "psnr": float(psnr)}
            for i, psnr in enumerate((0, end))]  # fmt: skip


@pytest.fixture
def ends(write_run, tmp_path):
    """A function that writes runs by their regions, with a final PSNR for each seed."""

    def write(of_regions, **facts):
        for regions, psnrs in of_regions.items():
            for seed, psnr in enumerate(psnrs):
                write_run(tmp_path / f"{regions}-{seed}", regions=regions, seed=seed, rows=curve(psnr), facts=facts)
        return collect([tmp_path])

    return write


def bold(records):
    """Regions of the groups whose PSNR is bold, and the rule."""
    study = Study.of(records)
    table, rule = marked(rows(study), [column for column in columns_of(study) if column.key == "psnr"])
    return [row.group.regions for row in table if row.cells["psnr"].best], rule


def test_bold_is_what_a_test_does_not_tell_from_the_best(ends):
    records = ends({1: (20.0, 20.1, 20.2), 4: (30.0, 30.5, 31.0), 9: (30.1, 30.4, 31.1), 16: (29.0, 29.1, 28.9)})
    assert bold(records) == (
        [4, 9],
        "Bold: the best mean, and those that do not differ from it at 5% by Welch's t-test over seeds.",
    )


def test_nothing_is_bold_where_nothing_differs(ends):
    assert bold(ends({1: (29.0, 31.0), 4: (29.1, 31.2)})) == ([], "")


def test_nothing_is_bold_where_two_runs_leave_it_open(ends):
    assert bold(ends({1: (20.0, 20.1), 4: (30.0, 30.1)}))[0] == [4]
    assert bold(ends({9: (25.0, 29.9)})) == ([], "")


def test_one_run_each_has_no_test(ends):
    regions, rule = bold(ends({1: (20.0,), 4: (30.001,), 9: (30.002,)}))
    assert (regions, rule) == ([4, 9], "Bold: the best number as printed; with one run each there is no test.")


@pytest.fixture
def albums(write_run, tmp_path):
    """A folder of three runs of four images."""
    # Images differ more than groups do, which Welch's test would not see through.
    for regions, gain in ((1, 0.0), (4, 0.5), (9, 0.45)):
        noise = (0.02, -0.01, 0.0, 0.01) if regions == 9 else (0.0, 0.01, -0.01, 0.02)
        psnrs = [20 + 5 * k + gain + noise[k] for k in range(4)]
        images = {str(k): {"shape": [64, 64, 3], "regions": regions, "psnr": psnr} for k, psnr in enumerate(psnrs)}
        write_run(tmp_path / str(regions), regions=regions, rows=curve(sum(psnrs) / 4), facts={"images": images})
    return tmp_path


def test_images_of_a_run_are_compared_in_pairs(albums):
    regions, rule = bold(collect([albums]))
    assert regions == [4]
    assert "by a paired t-test over images." in rule


@pytest.mark.slow
@pytest.mark.browser
def test_so_does_the_script_of_a_report(chromium, albums):
    page = chromium(make_report([albums], albums / "report.html"))
    found = "() => [...document.querySelectorAll('td.best[data-key=psnr]')].map((cell) => cell.dataset.group)"
    assert page.evaluate(found) == ["2×2 grid"]
    page.locator("#results").get_by_role("button", name="PSNR dB").click()
    page.wait_for_function("() => document.querySelector('table[data-written]')")
    assert page.evaluate(found) == ["2×2 grid"]


def test_columns_and_order(ends):
    records = ends({1: (20.0,), 4: (31.0,), 9: (30.0,)})

    def first_cells(**options):
        text = table_text(records, "md", layout=Layout(**options))
        return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]

    heading, _, *lines = first_cells(columns="psnr,steps_25,parameters", sort="-psnr")
    assert heading == ["group", "PSNR dB", "Steps to 25 dB", "parameters"]
    assert [line[0] for line in lines] == ["2×2 grid", "3×3 grid", "no partition"]
    assert [line[2] for line in lines] == ["**8.1**", "8.3", "–"]
    # Rows without a number stay last, whatever the direction.
    assert [line[0] for line in first_cells(sort="-steps_25")[2:]] == ["3×3 grid", "2×2 grid", "no partition"]
    named = {"labels": "none=SIREN, alone,grid #9=ours", "order": "3×3 grid, none"}
    assert [line[0] for line in first_cells(wording=Wording(**named))[2:]] == ["ours", "SIREN, alone", "2×2 grid"]
    header = table_text(records, "csv", layout=Layout(columns="psnr")).splitlines()[0]
    assert header == "image,group,psnr,psnr_std,psnr_reached,seeds,state"


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (Layout(columns="psnr,sim"), "--columns: there is no column 'sim'; did you mean 'ssim'?"),
        (Layout(sort="speed"), "--sort: there is no column 'speed'; "),
        (Layout(wording=Wording(order="grid #44")), "--order: there is no group 'grid #44'; did you mean 'grid #4'?"),
        (Layout(wording=Wording(labels="ours")), "--labels: there is no group 'ours'; choose from none, "),
    ],
)
def test_what_does_not_exist_is_one_line(ends, layout, said):
    records = ends({1: (20.0,), 4: (30.0,)})
    with pytest.raises(PartinrError, match=re.escape(said)):
        table_text(records, "md", layout=layout)


def test_a_terminal_has_aligned_columns_and_no_markup(study, tmp_path):
    text = unstyled(make_table([study], form="text"))
    assert "|" not in text
    lines = text.splitlines()
    assert {"astronaut", "coffee"} < set(lines)
    numbers = [line for line in lines if line.startswith(("no partition", "2×2", "3×3", "4×4"))]
    assert len(numbers) == 8
    assert len({line.index(" ± ") for line in numbers}) == 1
    assert "* the best mean, and those that do not differ" in text
    assert max(map(len, lines)) <= 100
    assert "Left out for want of width: " in text
    assert "× time" not in lines[1]
    # The columns that these are about are left out.
    assert "no seed got there" not in text
    assert "Lone PSNR:" not in text
    # Where names alone are too long, they take several lines, broken between settings.
    long = "9=a name · with · many · parts · of which · every one · has some letters · and more of them"
    text = unstyled(make_table([study], form="text", layout=Layout(wording=Wording(f"grid #{long}"))))
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r"^a name · with ·.* ·  +\d.*\n  of which.* ·\n", text, re.MULTILINE)
    # A file has no control characters.
    assert "\x1b" not in make_table([study], tmp_path / "table.txt", form="text")
