"""The table for other documents: its rows are the report's, and LaTeX and Markdown can read it."""

import csv
import io
import re

import pytest

from partinr.base.errors import PartinrError
from partinr.report import collect, make_table, write_figures
from partinr.report.columns import columns_of
from partinr.report.export import FORMATS, table_text
from partinr.report.groups import Study
from partinr.report.paper import Layout
from partinr.report.significance import marked
from partinr.report.table import rows
from partinr.runs.layout import CURVE_COLUMNS


def curve(psnr):
    return [{**dict.fromkeys(CURVE_COLUMNS, 0), "step": 10 * i, "seconds": 2.0 * i, "psnr": float(p)}
            for i, p in enumerate(psnr)]  # fmt: skip


def markdown_cells(text):
    """Cells of the lines of a Markdown table, but for the rule below the heading."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines if set("".join(line)) - set("-: ")]


def latex_cells(text):
    """Cells of the lines of a tabular, read by LaTeX's own rules for & and \\\\, and its columns."""
    (head,) = re.findall(r"\\begin\{tabular\}\{(.*)\}", text)
    columns = len(re.findall("[lrcS]", re.sub(r"\[.*?\]", "", head)))
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    body = re.sub(r"\\(toprule|midrule)", "", body)
    lines = [re.split(r"(?<!\\)&", line) for line in re.split(r"\\\\\n", body) if line.strip()]
    return columns, [[cell.strip() for cell in line] for line in lines]


def read(cells):
    """A line of LaTeX as a reader sees it: without alignment and weight."""
    text = " ".join(cells).replace("\\bfseries ", "").replace(r" \pm ", " ± ").replace(r"\#", "#")
    return re.sub(r"(?<=\d) ?\{(.*?)\}|\{(.*?)\}", r"\1\2", text).replace("--", "–")


def test_the_rows_are_those_of_the_report(study, tmp_path, monkeypatch):
    found = Study.of(collect([study]))
    table, _ = marked(rows(found), columns_of(found))
    heading, *lines = markdown_cells(make_table([study]))
    assert heading[:4] == ["image", "group", "regions", "parameters"]
    assert [line[:2] for line in lines] == [[row.group.image, row.group.title] for row in table]
    places = {"psnr": "PSNR dB", "lone_steps": "steps to lone PSNR", "lone_time_ratio": "× less time"}
    for line, row in zip(lines, table, strict=True):
        for key, name in places.items():
            assert line[heading.index(name)].strip("*") == str(row.cells[key])
            assert line[heading.index(name)].startswith("**") == row.cells[key].best
        assert line[heading.index("seeds")] == str(row.group.n)
        assert line[heading.index("state")] == row.group.state
    # Each of the numbers is in the LaTeX, too.
    columns, (_, *in_latex) = latex_cells(table_text(collect([study]), "tex"))
    assert {len(line) for line in in_latex} == {columns}
    for line, row in zip(in_latex, table, strict=True):
        assert all(str(row.cells[key]).replace(",", "") in read(line) for key in places)
    # And the CSV is the one that goes with the figures.
    make_table([study], tmp_path / "table.csv")
    monkeypatch.setattr("partinr.report.figures.drawn", lambda *_: b"")
    write_figures(collect([study]), tmp_path / "figures")
    assert (tmp_path / "table.csv").read_text() == (tmp_path / "figures" / "table.csv").read_text()


def test_what_all_rows_have_in_common_is_said_below(write_run, tmp_path):
    for regions in (1, 4):
        for seed in range(3):
            write_run(tmp_path / f"{regions}-{seed}", regions=regions, seed=seed, rows=curve([0, 20 + seed + regions]))
    text = make_table([tmp_path])
    heading, *_ = markdown_cells(text)
    assert not {"image", "seeds", "state"} & set(heading)
    assert "Mean ± standard deviation over 3 seeds. Lone PSNR: " in text


def test_clocks_may_be_left_out(study):
    heading, *_ = markdown_cells(make_table([study]))
    without, *_ = markdown_cells(make_table([study], clocks=False))
    left_out = [name for name in heading if name not in without]
    assert left_out == ["training s", "CPU s", "seconds to lone PSNR", "× less time", "× less CPU time"]
    header, *_ = table_text(collect([study]), "csv", clocks=False).splitlines()
    assert not re.search("seconds|cpu|time", header)


def test_what_not_all_seeds_reach_is_counted(write_run, tmp_path):
    for regions, ends in ((1, (30, 30)), (4, (31, 20))):
        for seed, end in enumerate(ends):
            write_run(tmp_path / f"{regions}-{seed}", regions=regions, seed=seed, rows=curve([0, end]))
    text = make_table([tmp_path])
    heading, _, line = markdown_cells(text)
    assert line[heading.index("steps to lone PSNR")] == "1/2"
    assert "m/n: only m of n seeds" in text


def test_siunitx_reads_every_number_whole(write_run, tmp_path):
    for regions, ends in ((1, (9.5, 9.7)), (4, (31.25, 31.75)), (9, (8, 8))):
        for seed, end in enumerate(ends):
            write_run(tmp_path / f"{regions}-{seed}", regions=regions, seed=seed, rows=curve([0, end]))
    text = table_text(collect([tmp_path]), "tex")
    columns, (heading, *lines) = latex_cells(text)
    assert {len(line) for line in (heading, *lines)} == {columns}
    place = heading.index("{PSNR dB}")
    assert [line[place] for line in lines] == [r"9.60 \pm 0.14", r"\bfseries 31.50 \pm 0.35", r"8.00 \pm 0.00"]
    assert "S[table-format=2.2(2)]" in text
    # Units stand after the number; words and dashes are in braces.
    assert "S[table-format=2.1, table-space-text-post={k}]" in text
    assert lines[0][heading.index("{parameters}")] == "99.8 {k}"
    assert lines[2][heading.index("{steps to lone PSNR}")] == "{--}"
    plain = table_text(collect([tmp_path]), "tex", layout=Layout(plain=True))
    assert r"\textbf{31.50} $\pm$ 0.35" in plain
    assert "siunitx" not in plain


HOSTILE = r"50%_of $x^2$ & {a~b} #1 \end"


def test_latex_reads_every_name(write_run, tmp_path):
    for number, name in enumerate((HOSTILE, "b ω0 → ∞")):
        write_run(tmp_path / str(number), image=name, rows=curve([0, 20 + number]))
    columns, (_, *lines) = latex_cells(table_text(collect([tmp_path]), "tex"))
    assert [len(line) for line in lines] == [columns] * 2
    name = lines[0][0]
    # Nothing is left of what LaTeX would take as a command, a comment, a column or mathematics of the name's own.
    assert not re.search(r"(?<!\\)[%#$&_^~]", name)
    assert [name.count(rf"\{sign}") for sign in "%_$&#"] == [1, 1, 2, 1, 1]
    assert (name.count(r"\textbackslash{}"), name.count(r"\{a"), name.count(r"b\}")) == (1, 1, 1)
    assert lines[1][0].endswith(r"b $\omega$0 $\to$ $\infty$")
    assert all(ord(letter) < 0x250 for line in lines for cell in line for letter in cell)


def test_markdown_reads_every_name(write_run, tmp_path):
    write_run(tmp_path / "a", image="a|b *c* [d]<e>")
    write_run(tmp_path / "b", image="b")
    heading, first, second = markdown_cells(make_table([tmp_path]))
    assert len(heading) == len(first) == len(second)
    assert first[0] == r"a\|b \*c\* \[d\]\<e>"


def test_the_ending_says_the_form(study, tmp_path):
    for form in set(FORMATS) - {"text"}:
        text = make_table([study], tmp_path / f"table.{form}")
        assert (tmp_path / f"table.{form}").read_text() == text
    assert make_table([study], tmp_path / "TABLE.MD") == make_table([study])
    with pytest.raises(PartinrError, match=r"ends in \.md, \.tex or \.csv"):
        make_table([study], tmp_path / "table.txt")
    with pytest.raises(PartinrError, match=r"cannot write .*; choose another with -o"):
        make_table([study], tmp_path / "table.md" / "table.md")


def test_runs_without_numbers_are_no_table(write_run, tmp_path):
    write_run(tmp_path / "a", rows=[], status="failed", message="broke")
    with pytest.raises(PartinrError, match="partinr runs says how they stand"):
        make_table([tmp_path])
    # Beside others they have a row, which says so; and without a lone network nothing is measured against one.
    write_run(tmp_path / "b", regions=4)
    heading, failed, completed = markdown_cells(make_table([tmp_path]))
    assert (failed[-1], failed[heading.index("PSNR dB")], completed[-1]) == ("failed", "–", "completed")
    assert not [name for name in heading if "lone" in name or "fewer" in name]


def test_a_study_of_steps_is_shown_elsewhere(write_run, tmp_path):
    write_run(tmp_path / "a", settings={"regime.threshold": 0.05})
    with pytest.raises(PartinrError, match="only studies of steps; see: partinr hypothesis"):
        make_table([tmp_path])


def test_csv_has_no_second_table(study):
    lines = list(csv.reader(io.StringIO(table_text(collect([study]), "csv"))))
    assert len({len(line) for line in lines}) == 1


def test_seconds_of_a_shared_machine_have_a_sign_and_a_footnote(write_run, tmp_path):
    shared = {"machine": {"ran": 2.0, "waited": 1.0}}
    for name, regions, end, facts in (("a", 1, 20, shared), ("b", 4, 30, {})):
        rows = [{**row, "cpu_seconds": 1.5 * row["seconds"]} for row in curve([0, end])]
        write_run(tmp_path / name, regions=regions, rows=rows, facts=facts)
    heading, lone, grid = markdown_cells(make_table([tmp_path]))
    marked = {name for name, cell in zip(heading, lone, strict=True) if "†" in cell}
    assert marked == {"training s", "seconds to lone PSNR"}
    assert {name for name, cell in zip(heading, grid, strict=True) if "†" in cell} == {"× less time"}
    note = "† Shared machine: 1 of 2 runs, such as none siren astronaut, seed 0: its threads spent 33% of their time"
    assert note in make_table([tmp_path])
    tex = make_table([tmp_path], tmp_path / "table.tex")
    assert r"2.00 {$\dagger$}" in tex
    assert f"% {note}" in tex
    assert "†" not in tex.replace(f"% {note}", "")
    assert make_table([tmp_path], tmp_path / "table.csv").splitlines()[0].endswith(",seeds,state,shared")
    assert "†" not in make_table([tmp_path], clocks=False).partition("Lone PSNR")[0]
