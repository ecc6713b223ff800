import csv
import io

import pytest

from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.tables import csv_text, read_columns, read_text


def write(tmp_path, data):
    path = tmp_path / "table.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_fields_stay_text(tmp_path):
    text = 'a,b\nNA,1.0\nnull,""\n"x,y","say ""hi"""\n  pad ,é\n'
    names, columns = read_columns(write(tmp_path, text))
    assert names == ["a", "b"]
    assert columns == [["NA", "null", "x,y", "  pad "], ["1.0", "", 'say "hi"', "é"]]


def test_what_is_written_is_read(tmp_path):
    rows = [["NA", 'q"u,o te', "名"], ["", " ", "x"]]
    names = ["one", "two", "three"]
    text = csv_text(names, rows)
    assert read_columns(write(tmp_path, text)) == (names, [["NA", ""], ['q"u,o te', " "], ["名", "x"]])
    assert list(csv.reader(io.StringIO(text))) == [names, *rows]
    assert "\r" not in text


@pytest.mark.parametrize("text", ["a,b\r\n1,2\r\n", "\ufeffa,b\n1,2", "a,b\n1,2\n\n\n"])
def test_line_ends_and_marks_do_not_matter(tmp_path, text):
    assert read_columns(write(tmp_path, text)) == (["a", "b"], [["1"], ["2"]])


def test_an_empty_file_has_no_columns(tmp_path):
    assert read_columns(write(tmp_path, "")) == ([], [])


@pytest.mark.parametrize(("data", "line", "words"), [
    ("a,b\n1,2\n1\n", 3, "expected 2 columns, as in the first line, found 1"),
    ("a,b\n1,2,3\n", 2, "found 3"),
    ("a,b\n\n1,2\n", 2, "found 0"),
    ('a,b\n1,"x\ny"\n', 2, "line break"),
    ('a,b\n1,2\n1,"x\n', 3, "not valid CSV"),
    ('a,b\n1,"x"y\n', 2, "not valid CSV"),
    ("a,b\n1,2\n3,\0\n", 3, "NUL"),
    (b"a,b\n1,2\n1,\xe9\n", 3, "not UTF-8"),
    ("a\n" + "x" * 200_000 + "\n", 2, "not valid CSV"),
])  # fmt: skip
def test_malformed_tables_name_the_line(tmp_path, data, line, words):
    path = write(tmp_path, data)
    with pytest.raises(ProtocolError) as caught:
        read_columns(path, ProtocolError)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(MaskbenchError, match="cannot be read"):
        read_text(tmp_path / "no.csv")
