import string

import pytest
import starfile
from emtable import Table
from hypothesis import given
from hypothesis import strategies as st

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.star import Star, find_table, parse_index_list, read_star, tomogram_names, write_star

CELLS = st.text(string.ascii_letters + string.digits + " ._-/;$#'()é", min_size=1, max_size=20).filter(
    lambda text: text.strip() == text
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("star") / "table.star"
    labels = ["rlnA", "rlnB", "rlnC"]
    star = Star(labels, [dict(zip(labels, row)) for row in rows])
    write_star(path, star)
    again = read_star(path)
    assert (again.labels, again.rows) == (star.labels, star.rows)


def test_released_programs_table_is_read(reference):
    star = read_star(reference / "tomograms.star")
    row = star.rows[0]
    assert star.labels[:3] == ["rlnIndex", "rlnMicrographName", "rlnPixelSize"]
    assert star.number(row, "rlnDefocus") == 18350
    assert star.text(row, "rlnMaskBoundary") is None


def test_starfile_reads_our_tables(tmp_path):
    row = {"rlnIndex": "1", "rlnMicrographName": "a b.mrc"}
    write_star(tmp_path / "t.star", Star(list(row), [row]))
    table = starfile.read(tmp_path / "t.star")
    assert table["rlnMicrographName"][0] == "a b.mrc"


def test_windows_line_ends_tabs_comments_and_later_quotes(tmp_path):
    text = "# made by hand\r\ndata_\r\n\r\nloop_\r\n_rlnA #1\r\n_rlnB #2\r\n1\tplain\r\n2\t'with space'\r\n"
    (tmp_path / "t.star").write_bytes(text.encode())
    assert [row["rlnB"] for row in read_star(tmp_path / "t.star").rows] == ["plain", "with space"]


def test_a_column_in_other_letters_is_not_left_out(tmp_path):
    row = {"rlnIndex": "1", "rlnMaskname": "mask.mrc"}
    write_star(tmp_path / "t.star", Star(list(row), [row]))
    star = read_star(tmp_path / "t.star")
    for read in (star.text, star.number):
        with pytest.raises(EngineError, match=r"t\.star: its column _rlnMaskname is not known, but _rlnMaskName is"):
            read(star.rows[0], "rlnMaskName")
    with pytest.raises(EngineError, match="Rename it to _rlnMaskName"):
        star.require(["rlnIndex", "rlnMaskName"])
    assert star.text(star.rows[0], "rlnMaskBoundary") is None


def test_comments_and_rows_taken_out_stay_where_all_programs_skip_them(tmp_path):
    path = tmp_path / "t.star"
    text = "# data_ of grid 2\n\ndata_\n\nloop_\n_rlnA #1\n_rlnB #2\n1 a.mrc\n#2 b.mrc\n  # 3 c.mrc\n4 d.mrc\n"
    path.write_text(text)
    for _ in range(2):
        star = read_star(path)
        star.set(star.rows[0], "rlnC", "c")
        write_star(path, star)
        assert [row["rlnA"] for row in read_star(path).rows] == ["1", "4"]
        assert path.read_text().split("\n")[:3] == ["# data_ of grid 2", "#2 b.mrc", "# 3 c.mrc"]
    assert [row.rlnB for row in Table(fileName=str(path))] == ["a.mrc", "d.mrc"]
    assert list(starfile.read(path)["rlnB"]) == ["a.mrc", "d.mrc"]


def test_a_comment_behind_a_row_stays_above_the_table_with_what_it_is_of(tmp_path):
    path = tmp_path / "t.star"
    path.write_text("data_\n\nloop_\n_rlnA #1\n_rlnB #2\n_rlnC #3\n1 'a b.mrc' x # it's dark\n2 c.mrc x #thick\n")
    rows = [{"rlnA": "1", "rlnB": "a b.mrc", "rlnC": "x"}, {"rlnA": "2", "rlnB": "c.mrc", "rlnC": "x"}]
    for _ in range(2):
        star = read_star(path)
        assert (star.rows, star.comments) == (rows, ["# 1 a b.mrc: # it's dark", "# 2 c.mrc: #thick"])
        write_star(path, star)
    assert list(starfile.read(path)["rlnC"]) == ["x", "x"]
    path.write_text("data_\n\nloop_\n_rlnA #1\n_rlnB #2\n_rlnC #3\n1 a b.mrc x\n")
    with pytest.raises(EngineError, match="row 1 has 4 cells, not 3"):
        read_star(path)


def test_a_comment_behind_a_value_of_a_table_without_loop(tmp_path):
    (tmp_path / "t.star").write_text("data_\n\n_rlnA 1 # by hand\n_rlnB 'a b.mrc'\n")
    star = read_star(tmp_path / "t.star")
    assert (star.rows, star.comments) == ([{"rlnA": "1", "rlnB": "a b.mrc"}], ["# 1 a b.mrc: # by hand"])


@pytest.mark.parametrize("cell", ["_a.mrc", "data_1.mrc", "loop_", "#1.mrc", "it's", "", "None"])
def test_first_cells_that_look_like_something_else(tmp_path, cell):
    rows = [{"rlnA": cell, "rlnB": "1"}, {"rlnA": "plain", "rlnB": cell}, {"rlnA": cell, "rlnB": cell}]
    write_star(tmp_path / "t.star", Star(["rlnA", "rlnB"], rows))
    assert read_star(tmp_path / "t.star").rows == rows


@pytest.mark.parametrize("first", ["grid_01", "data_01", "loop_01", "loop_"])
def test_rows_of_other_programs_may_begin_like_a_block(tmp_path, first):
    rows = [[first, "a"], ["data_02", "b"], ["loop_3", "c"], ["_4", "d"], ["data_", "e"], ["grid_03", "f"]]
    head = "data_global # of a project\n\nloop_ # one\n_rlnTomoName #1\n_rlnB #2\n"
    (tmp_path / "t.star").write_text(head + "".join(" ".join(row) + "\n" for row in rows))
    star = read_star(tmp_path / "t.star")
    assert star.name == "global" and [list(row.values()) for row in star.rows] == rows
    # each of these names ends the table for emtable, and starfile, unless it is quoted
    write_star(tmp_path / "t.star", Star(star.labels, star.rows))
    assert read_star(tmp_path / "t.star").rows == star.rows
    assert not any(line.startswith("data_") for line in (tmp_path / "t.star").read_text().splitlines()[2:])


NO_TABLES = (
    *("", "hello", "data_\n\nloop_\n_rlnA #1\n_rlnB #2\n1\n", "data_\nloop_\n", "data_\n_rlnA\n1\n", "\x00\x01"),
    "data_\nloop_\n_rlnA\n_rln-B\n1 2\n",
)


@pytest.mark.parametrize("text", NO_TABLES)
def test_what_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "t.star").write_text(text)
    with pytest.raises(EngineError, match=r"t\.star"):
        read_star(tmp_path / "t.star").require(["rlnA"])


def test_a_folder_or_volume_instead_of_a_table_is_told_in_plain_words(tmp_path):
    (tmp_path / "TS_01.mrc").write_bytes(bytes(range(256)))
    for name, why in (("TS_01.mrc", "it is no text .UTF-8., so not a table"), ("", "it is a folder, not a table")):
        with pytest.raises(EngineError, match=f"{why}. Give a STAR file; prepare_star makes one"):
            read_star(tmp_path / name)


def test_several_tables_of_the_kind_that_is_looked_for_are_refused(tmp_path):
    """As `cat TS_1.star TS_2.star` makes them: of the first alone, nothing would tell that there are others."""
    table = "data_\n\nloop_\n_rlnTomoName\n_rlnCoordinateX\n{} 1\n"
    (tmp_path / "all.star").write_text(
        table.format("TS_1") + "\n" + table.format("TS_2") + "data_optics\nloop_\n_a\n1\n"
    )
    with pytest.raises(EngineError, match=r"all\.star: it holds 2 tables with _rlnCoordinateX\. Join them"):
        find_table(tmp_path / "all.star", ["rlnNone"], ["rlnCoordinateX"])
    assert find_table(tmp_path / "all.star", ["rlnNone"], ["a"], ["rlnCoordinateX"]).name == "optics"
    assert find_table(tmp_path / "all.star", ["rlnNone"]) is None


def test_missing_column_and_wrong_number_name_the_place():
    star = Star(["rlnA"], [{"rlnA": "1"}, {"rlnA": "x"}, {"rlnA": "1.5"}], "t.star")
    with pytest.raises(EngineError, match=r"t\.star: the column _rlnB is missing"):
        star.require(["rlnA", "rlnB"])
    with pytest.raises(EngineError, match="row 2, not a number"):
        star.number(star.rows[1], "rlnA")
    with pytest.raises(EngineError, match="not a whole number"):
        star.integer(star.rows[2], "rlnA")


def test_index_lists():
    star = Star(["rlnIndex"], [{"rlnIndex": str(index)} for index in range(1, 12)])
    chosen = [row["rlnIndex"] for row in parse_index_list("1,3,5-7", star)]
    assert chosen == ["1", "3", "5", "6", "7"]
    assert parse_index_list(None, star) == star.rows
    for bad in ("a", "1-", "0", "99"):
        with pytest.raises(EngineError):
            parse_index_list(bad, star)
    with pytest.raises(EngineError, match="'4-2' runs backwards"):
        parse_index_list("1,4-2", star)


def test_equal_file_names_get_distinct_output_names():
    rows = [{"rlnIndex": str(i), "rlnMicrographName": f"{folder}/TS.5_bin4.mrc"} for i, folder in enumerate("ab", 1)]
    assert tomogram_names(Star(["rlnIndex", "rlnMicrographName"], rows)) == ["TS.5_bin4_1", "TS.5_bin4_2"]
    assert tomogram_names(Star(["rlnIndex", "rlnMicrographName"], rows[:1])) == ["TS.5_bin4"]


@pytest.mark.parametrize(
    "rows",
    [
        [("a", "1_2"), ("a", "3"), ("a_1", "2"), ("a_1", "3")],
        [("a", "1"), ("a", "1")],
        [("a/b", "1"), ("a_b", "1")],
    ],
)
def test_two_tomograms_that_would_be_written_as_one_are_refused(rows):
    rows = [{"rlnIndex": index, "rlnMicrographName": "t.mrc", "rlnTomoName": name} for name, index in rows]
    with pytest.raises(EngineError, match="would both be written as a_"):
        tomogram_names(Star(["rlnIndex", "rlnMicrographName", "rlnTomoName"], rows))
