"""Reading the score files of other tools: what each format says, and what is wrong with a file and where."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maskbench import score_formats_text
from maskbench.errors import MaskbenchError
from maskbench.metrics.conditions import LABELS
from maskbench.score_formats_read import FORMATS, ScoreTable, read_table, sniff
from maskbench.types import Status


@pytest.fixture
def read(tmp_path: Path):
    """A function that writes texts as files a.txt, b.txt, ... and reads them as one table."""

    def function(*texts: str, kind: str = "auto") -> ScoreTable:
        paths = [tmp_path / f"{name}.txt" for name, _ in zip("abc", texts, strict=False)]
        for path, text in zip(paths, texts, strict=True):
            path.write_bytes(text.encode("utf-8"))
        return read_table(paths, kind)

    return function


@pytest.fixture
def refuse(read, tmp_path: Path):
    """A function that checks that files are refused with one line that holds the parts; the first part is its start."""

    def function(*texts: str, parts: tuple[str, ...], kind: str = "auto") -> None:
        with pytest.raises(MaskbenchError) as caught:
            read(*texts, kind=kind)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"{tmp_path}/{parts[0]}"), message
        for part in parts[1:]:
            assert part in message, message

    return function


def sides(table: ScoreTable, kind: str) -> list[tuple[str, str]]:
    codes, names = (getattr(table, kind), getattr(table, f"{kind[:-1]}_names"))
    return [(str(names[first]), str(names[second])) for first, second in zip(*codes, strict=True)]


# ---------------------------------------------------------------- CSV


def test_csv_with_every_column(read):
    table = read(
        "pair_id,score,label,status,reference_subject,probe_subject,reference_id,probe_id,condition,fold\n"
        "p1,0.75,genuine,ok,ann,ann,a1,a2,UMR-UMP,1\n"
        'p2,-1e-3,impostor,,ann,"Bo, jr.",a1,b1,umr-mp,2\n'
        "p3,,impostor,failed,Ann,ann,a3,a1,MR-MP,0\n"
        "p4,inf,genuine,FAILED,ann,ann,a1,a4,MR-UMP,10\n"
    )
    assert table.format == "csv" and "4 comparisons" in table.said
    np.testing.assert_array_equal(table.scores, [0.75, -1e-3, np.nan, np.nan])
    assert table.status.tolist() == [Status.OK, Status.OK, Status.FAILED, Status.FAILED]
    assert table.mated.tolist() == [True, False, False, True]
    assert table.pair_id.tolist() == ["p1", "p2", "p3", "p4"]
    assert sides(table, "subjects") == [("ann", "ann"), ("ann", "Bo, jr."), ("Ann", "ann"), ("ann", "ann")]
    assert sides(table, "samples")[1] == ("a1", "b1")
    assert [LABELS[code] for code in table.condition] == ["UMR-UMP", "UMR-MP", "MR-MP", "MR-UMP"]
    assert table.fold.tolist() == [1, 2, 0, 10]
    assert table.place(0).endswith("a.txt:2") and table.place(3).endswith("a.txt:5")


@pytest.mark.parametrize("word", ["", "nan", "NaN", "NA", "n/a", "null", "None", " nan "])
def test_a_missing_score_is_a_failed_comparison(read, word: str):
    table = read(f"score,mated\n1,1\n{word},0\n")
    assert table.status.tolist() == [Status.OK, Status.FAILED] and np.isnan(table.scores[1])


@pytest.mark.parametrize("pair", ["1/0", "true/false", "True/FALSE", "genuine/impostor", "mated/non-mated"])
def test_every_pair_of_words_for_a_label(read, pair: str):
    yes, no = pair.split("/")
    assert read(f"score,mated\n1,{yes}\n2,{no}\n3,{yes}\n").mated.tolist() == [True, False, True]


def test_numbers_are_read_to_the_last_bit(read):
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2**64, 3000, dtype=np.uint64).view(np.float64)
    values = bits[np.isfinite(bits)]
    text = "".join(f"{value!r},1\n" for value in values.tolist())
    assert np.array_equal(read("score,mated\n" + text).scores, values)


def test_line_ends_byte_order_mark_and_empty_lines_at_the_end(read):
    plain = read("score,mated\n1,1\n2,0\n")
    for text in ("\ufeffscore,mated\r\n1,1\r\n2,0\r\n", "score,mated\n1,1\n2,0", "score,mated\n1,1\n2,0\n\n\n"):
        table = read(text)
        assert table.scores.tolist() == plain.scores.tolist() and table.place(1).endswith(":3")


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_blocks_change_neither_values_nor_lines(read, monkeypatch, size: int):
    rng = np.random.default_rng(6)
    rows = [[f"päir {i}", repr(float(rng.normal())), str(i % 2), f's"{i % 7}', f"s{i % 5}"] for i in range(200)]
    for row in rows:
        row[4] = row[3] if row[2] == "1" else "t" + row[4]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([["pair_id", "score", "mated", "reference_subject",
                                                        "probe_subject"], *rows])
    whole = read(stream.getvalue())
    monkeypatch.setattr(score_formats_text, "BLOCK", size)
    parts = read(stream.getvalue())
    assert parts.pair_id.tolist() == [row[0] for row in rows] == whole.pair_id.tolist()
    assert parts.scores.tolist() == [float(row[1]) for row in rows]
    assert sides(parts, "subjects") == [(row[3], row[4]) for row in rows]
    assert [parts.place(row).rpartition(":")[2] for row in range(200)] == [str(row + 2) for row in range(200)]


CSV_FAULTS = {
    "unknown column": ("score,matd\n1,1\n", "a.txt:1: unknown column 'matd'", 'did you mean "mated"'),
    "no score": ("pair_id,mated\n1,1\n", "a.txt:1: no column named score"),
    "both labels": ("score,mated,label\n1,1,1\n", "a.txt:1: both mated and label"),
    "twice": ("score,score\n1,1\n", "a.txt:1: column name 'score'", "twice"),
    "one side of the subjects": ("score,probe_subject\n1,a\n", "a.txt:1: reference_subject is missing"),
    "one side of the samples": ("score,mated,reference_id\n1,1,a\n", "a.txt:1: probe_id is missing"),
    "an empty side": ("score,reference_subject,probe_subject\n1,a,a\n1,a,\n", "a.txt:3: probe_subject is empty"),
    "an empty pair id": ("pair_id,score,mated\na,1,1\n,1,0\n", "a.txt:3: pair_id is empty"),
    "text among numbers": ("score,mated\n0.5,1\n0.6,0\nhigh,0\n", "a.txt:4: score is 'high', not a number"),
    "digits in groups": ("score,mated\n0.5,1\n1_000,0\n", "a.txt:3: score is '1_000', not a number"),
    "a mixture of labels": ("score,mated\n1,genuine\n1,0\n", "a.txt:3: mated is '0'", "a.txt:2 says genuine"),
    "an unknown label": ("score,mated\n1,yes\n", "a.txt:2: mated is 'yes'; write 1/0, true/false"),
    "an unknown status": ("score,mated,status\n1,1,good\n", "a.txt:2: status is 'good'; write ok or failed"),
    "an unknown condition": ("score,mated,condition\n1,1,masked\n", "a.txt:2: condition is 'masked'; write UMR-UMP"),
    "a fold": ("score,mated,fold\n1,1,1.5\n", "a.txt:2: fold is '1.5'; write a whole number"),
    "infinite": ("score,mated\n1,1\n-inf,0\n", "a.txt:3: score is -inf"),
    "too large for a double": ("score,mated\n1,1\n1e999,0\n", "a.txt:3: score is inf"),
    "ok without a score": ("score,mated,status\n1,1,ok\n,0,ok\n", "a.txt:3: no score, but status says ok"),
    "a long row": ("score,mated\n1,1\n1,0,7\n", "a.txt:3: expected 2 columns, as in the first line, found 3"),
    "long and short": ("score,mated\n1,1,1\n1\n", "a.txt:2: expected 2 columns", "found 3"),
    "an empty line": ("score,mated\n1,1\n\n1,0\n", "a.txt:3: expected 2 columns"),
    "a line break": ('score,mated\n1,1\n"1\n",0\n', "a.txt:3: a field holds a line break"),
    "an open quote": ('score,mated\n1,1\n"1,0\n', "a.txt:3: "),
    "a NUL": ("score,mated\n1,1\n1\0,0\n", "a.txt:3: a NUL"),
    "nothing": ("", "a.txt:1: holds no scores"),
    "a header alone": ("score,mated\n", "a.txt: holds no scores"),
}  # fmt: skip


@pytest.mark.parametrize("name", CSV_FAULTS)
@pytest.mark.parametrize("block", [1 << 22, 9])
def test_faults_of_csv_name_file_and_line(refuse, monkeypatch, name: str, block: int):
    monkeypatch.setattr(score_formats_text, "BLOCK", block)
    text, *parts = CSV_FAULTS[name]
    refuse(text, parts=tuple(parts))


def test_not_utf8_names_the_line(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes(b"score,mated,pair_id\n1,1,a\n1,0,\xe9\n")
    with pytest.raises(MaskbenchError, match=r"latin\.csv:3: not UTF-8"):
        read_table([path])


def test_a_fault_far_down_a_long_file(read, refuse, monkeypatch):
    monkeypatch.setattr(score_formats_text, "BLOCK", 4096)
    rows = [f"0.{i},{i % 2}" for i in range(50_000)]
    rows[41_234] = "o.5,1"
    refuse("score,mated\n" + "\n".join(rows), parts=("a.txt:41236: score is 'o.5'",))


@pytest.mark.slow
def test_a_long_file_takes_the_memory_of_its_arrays(tmp_path):
    """Two million rows of 25 bytes: 18 bytes a row stay, twice that while they are joined, and a block of text."""
    rng, rows = np.random.default_rng(7), 2_000_000
    path = tmp_path / "long.csv"
    with path.open("w") as stream:
        stream.write("score,mated\n")
        for _ in range(20):
            stream.write("".join(f"{value!r},{value > 0:d}\n" for value in rng.normal(size=rows // 20).tolist()))
    code = f"""
import maskbench.score_files
from maskbench.score_formats_read import read_table
def peak():  # ru_maxrss would hold the parent's
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before = peak()
table = read_table(["{path}"])
assert len(table) == {rows} and (table.mated == (table.scores > 0)).all()
assert table.place({rows - 1})[-8:] == ":{rows + 1}"
print((peak() - before) / 1024)
"""
    used = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert used < 120, f"{used:.0f} MiB"


# ---------------------------------------------------------------- arrays


def test_npz_keeps_float32_and_takes_text_or_numbers(tmp_path):
    path, scores = tmp_path / "s.npz", np.array([0.1, np.nan, 0.3], np.float32)
    for mated in (np.array([True, False, False]), np.array([1, 0, 0]), np.array(["genuine", "impostor", "impostor"])):
        np.savez(path, scores=scores, mated=mated, condition=np.array(["UMR-MP"] * 3))
        table = read_table([path])
        assert table.format == "npz" and table.scores.dtype == np.float32
        np.testing.assert_array_equal(table.scores, scores)
        assert table.mated.tolist() == [True, False, False] and table.status.tolist() == [0, 1, 0]
    np.savez(path, score=np.array([3, 2, 1]), label=np.array([1, 0, 0]), pair_id=np.array([7, 8, 9]))
    table = read_table([path])
    assert table.scores.dtype == np.float64 and table.pair_id.tolist() == ["7", "8", "9"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": [1.0, 2.0], "mated": [1, 0, 0]}, "'mated' has 3 rows, 'score' 2"),
        ({"scores": [[1.0, 2.0]], "mated": [1]}, r"array 'score' has shape \(1, 2\)"),
        ({"scores": [1j], "mated": [1]}, "array 'score' is of type complex128"),
        ({"scores": [1.0, np.inf], "mated": [1, 0]}, "row 2: score is inf"),
        ({"scores": [1.0], "labels": [1]}, "unknown column 'labels'"),
        ({"scores": ["1", "x"], "mated": [1, 0]}, "row 2: score is 'x', not a number"),
        ({"scores": [1.0, 2.0], "mated": [1, 2]}, "row 2: mated is '2'"),
        ({"format": 9, "scores": [1.0]}, "not a score file"),
    ],
)
def test_faults_of_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "s.npz", **{name: np.array(value) for name, value in arrays.items()})
    with pytest.raises(MaskbenchError, match=message):
        read_table([tmp_path / "s.npz"])


def test_pickled_and_damaged_npz_are_refused(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, scores=np.array([{}], dtype=object), mated=np.array([1]))
    with pytest.raises(MaskbenchError, match=r"s\.npz: not an \.npz of plain arrays"):
        read_table([path])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(MaskbenchError, match=r"s\.npz: not an \.npz of plain arrays"):
        read_table([path])


def test_parquet_without_pyarrow_gives_advice(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "s.parquet"
    path.write_bytes(b"PAR1....PAR1")
    with pytest.raises(MaskbenchError, match=r"s\.parquet: \.parquet needs pyarrow; pip install") as caught:
        read_table([path])
    assert "\n" not in str(caught.value)


def test_parquet_columns_become_arrays(tmp_path, monkeypatch):
    """The tables that pandas makes of parquet files, without the engine, which need not be installed."""
    import pandas as pd

    path = tmp_path / "s.parquet"
    path.write_bytes(b"PAR1")
    frame = pd.DataFrame({
        "score": pd.array([1.5, None, 3.0], dtype="Float64"), "mated": [True, False, True],
        "pair_id": pd.array(["a", "b", "c"], dtype="string"), "fold": np.array([1, 2, 3], np.int32),
        "status": ["ok", None, "ok"],
    })  # fmt: skip
    monkeypatch.setattr(pd, "read_parquet", lambda *_, **__: frame)
    table = read_table([path])
    np.testing.assert_array_equal(table.scores, [1.5, np.nan, 3.0])
    assert table.format == "parquet" and table.status.tolist() == [0, 1, 0]
    assert table.mated.tolist() == [True, False, True]
    assert table.pair_id.tolist() == ["a", "b", "c"] and table.fold.tolist() == [1, 2, 3]


@pytest.mark.slow
def test_a_real_parquet_file(tmp_path):
    """With a pyarrow that works with this numpy."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        pytest.skip(f"no working pyarrow ({error})")
    import pandas as pd

    frame = pd.DataFrame({"score": [0.5, 0.25, np.nan], "mated": [True, False, False], "condition": ["UMR-MP"] * 3})
    frame.to_parquet(tmp_path / "s.parquet")
    table = read_table([tmp_path / "s.parquet"])
    np.testing.assert_array_equal(table.scores, frame["score"])
    assert table.format == "parquet" and table.mated.tolist() == [True, False, False]
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(MaskbenchError, match=r"t\.parquet: not a readable"):
        read_table([tmp_path / "t.parquet"])


# ---------------------------------------------------------------- bob, pyeer, NIST


def test_bob_four_columns(read):
    table = read("# claimed real label score\nann ann a/1 0.9\nann bo b/1 0.1\n\nbo bo b/2 nan\n")
    assert table.format == "bob4" and table.mated.tolist() == [True, False, True]
    np.testing.assert_array_equal(table.scores, [0.9, 0.1, np.nan])
    assert sides(table, "subjects") == [("ann", "ann"), ("ann", "bo"), ("bo", "bo")] and table.samples is None
    assert [table.place(row).rpartition(":")[2] for row in range(3)] == ["2", "3", "5"]


def test_bob_five_columns(read):
    table = read("ann m1 ann a/1 0.9\nann m1 bo b/1 -0.1\n")
    assert table.format == "bob5" and table.mated.tolist() == [True, False]
    assert sides(table, "samples") == [("m1", "a/1"), ("m1", "b/1")]


def test_pyeer_takes_the_last_column_of_two_files(read):
    table = read("0.9\n0.8\n", "a b 0.1\nc d 0.2\n\ne f 0.3\n")
    assert table.format == "pyeer" and table.scores.tolist() == [0.9, 0.8, 0.1, 0.2, 0.3]
    assert table.mated.tolist() == [True, True, False, False, False]
    assert table.place(1).endswith("a.txt:2") and table.place(4).endswith("b.txt:4")
    assert "2 genuine" in table.said and "3 impostor" in table.said


def test_nist_log(read):
    table = read(
        "enrollTempl verifTempl simScore returnCode\n1.template 2.template 384 0\n1.template 3.template -1 6\n"
    )
    assert table.format == "nist" and table.mated is None
    np.testing.assert_array_equal(table.scores, [384, np.nan])
    assert table.status.tolist() == [Status.OK, Status.FAILED] and sides(table, "samples") == [("1", "2"), ("1", "3")]
    assert table.place(0).endswith(":2")


def test_nist_lists_without_codes_and_bozorth(read):
    assert sides(read("e1 v1 12.5\ne2 v2 7\n"), "samples") == [("e1", "v1"), ("e2", "v2")]
    table = read("12 probe.xyt gallery.xyt\n7 probe.xyt other.xyt\n")
    assert sides(table, "samples")[0] == ("gallery.xyt", "probe.xyt") and table.scores.tolist() == [12, 7]


@pytest.mark.parametrize(
    ("texts", "kind", "parts"),
    [
        (("ann ann a 0.9\nann bo 0.1\n",), "bob4", ("a.txt:2: expected 4 columns, found 3",)),
        (("ann ann a 0.9\nann bo b x\n",), "auto", ("a.txt:2: score is 'x'",)),
        (("ann m ann a 0.9\nann m bo 0.1\n",), "auto", ("a.txt:2: expected 5 columns, found 4",)),
        (("ann m ann a inf\n",), "auto", ("a.txt:1: score is inf",)),
        (("0.9\n", "0.1\nx\n"), "auto", ("b.txt:2: score is 'x'",)),
        (("0.9\n", "a 0.1\n0.2\n"), "auto", ("b.txt:2: expected 2 columns, found 1",)),
        (("0.9\n", "\n"), "auto", ("b.txt:1: holds no scores",)),
        (("0.9\n0.8\n",), "auto", ("a.txt:1: one file of bare scores", "genuine then impostor")),
        (("0.9\n",), "pyeer", ("a.txt: format pyeer takes two files", "found 1")),
        (("0.9\n", "0.1\n"), "csv", ("b.txt: format csv takes one file", "found 2")),
        (("1\n", "2\n", "3\n"), "pyeer", ("c.txt: format pyeer takes two files", "found 3")),
        (("a b 0.5 0\nc d 0.6 0\n",), "auto", ("a.txt:1: bob's four columns or NIST's?", "--format nist")),
        (("a b 0.5 0\nc d 0.6 z\n",), "nist", ("a.txt:2: return code is 'z'",)),
        (("a b\nc d\n",), "auto", ("a.txt:1: no known score format", "bob5")),
        (("a b 0.5 0\n",), "xml", ()),
    ],
)
def test_faults_of_columns_parted_by_spaces(refuse, read, texts, kind, parts):
    if not parts:
        with pytest.raises(MaskbenchError, match='no score format "xml"; known: auto, bob4'):
            read(*texts, kind=kind)
        return
    refuse(*texts, kind=kind, parts=parts)


def test_every_format_is_recognised_or_can_be_named(tmp_path, read):
    assert set(FORMATS) == {"csv", "npz", "parquet", "bob4", "bob5", "pyeer", "nist"}
    assert read("a b 0.5 0\n", kind="nist").samples is not None
    assert read("a b 3 0.5\n").format == "bob4"  # no return code: a label that happens to be a number
    with pytest.raises(MaskbenchError, match="nothing.csv: cannot be read"):
        sniff([tmp_path / "nothing.csv"])
    with pytest.raises(MaskbenchError, match="is a folder"):
        read_table([tmp_path])


def test_semicolons_are_named_as_what_they_are(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("pair_id;score\na;1\n")
    with pytest.raises(MaskbenchError, match=r"s\.csv:1: columns parted by semicolons; save it with commas"):
        read_table([path])
