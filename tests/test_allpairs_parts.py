"""The parts of all-pairs comparison: bins, kept scores, order statistics, blocks, the torch engine, files, limits."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from reference.allpairs import differences, expected, reduced

import maskbench.allpairs as allpairs
from maskbench.allpairs import Options, Templates, compare_all, load_templates
from maskbench.allpairs_grid import Kept, Missing, Ranks, Scan, make_grid
from maskbench.allpairs_kernels import KEEP, SPLIT, scan_block, take_mated, to_distances
from maskbench.allpairs_passes import CpuEngine, mated_tiles, tile_mated, tile_skip, tiles
from maskbench.allpairs_sides import pair_up
from maskbench.cli.allpairs import allpairs as command
from maskbench.errors import MaskbenchError

NOTHING = np.empty(0, np.float32)


def scores_of(seed: int, count: int, digits: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).round(digits).astype(np.float32)


@pytest.mark.parametrize("sample", [NOTHING, np.float32([0.5]), np.float32([0.5, 0.5]), np.sort(scores_of(1, 300))])
def test_bins_never_fall_as_scores_grow(sample: np.ndarray) -> None:
    grid = make_grid(sample, NOTHING, 1 << 8)
    tested = np.sort(np.concatenate([scores_of(2, 1000), sample, np.float32([-1e30, 1e30, 0.0, -0.0])]))
    places = grid.bins(tested)
    assert (np.diff(places) >= 0).all() and places.min() >= 0 and places.max() <= 255


def test_points_mark_their_bins() -> None:
    points = np.unique(scores_of(3, 50))
    grid = make_grid(np.sort(scores_of(4, 100)), points, 64)
    for k in range(64):
        inside = grid.start[k + 1] - grid.start[k]
        assert inside == np.count_nonzero(grid.bins(points) == k)
        assert bool(grid.code[k] & SPLIT) == (inside > 0)


@pytest.mark.parametrize("capacity", [60, 200, 2000])
def test_kept_scores_are_whole_bins_from_the_top(capacity: int) -> None:
    """Ties are counted together; when even that is too much, the lowest bins go, whole."""
    everything = scores_of(5, 3000, digits=1)
    grid = make_grid(np.sort(everything), NOTHING, 50)
    grid.code[:] |= KEEP
    kept = Kept(grid, capacity)
    for part in np.array_split(everything, 37):
        kept.add(part[grid.keeps[grid.bins(part)]])
    values, counts = kept.result()
    counts = np.ones(len(values), int) if counts is None else counts
    distinct, times = np.unique(everything, return_counts=True)
    inside = grid.keeps[grid.bins(distinct)]
    assert inside[-1] or capacity < 100
    found = grid.keeps[grid.bins(values)]
    assert np.array_equal(np.repeat(values[found], counts[found]), np.repeat(distinct[inside], times[inside]))
    assert (np.diff(grid.keeps.astype(int)) >= 0).all()
    assert grid.keeps.all() == (capacity > 60)


def _ranks(everything: np.ndarray, points: np.ndarray, keep: slice, condensed: bool) -> Ranks:
    """As a pass would leave it, by plain numpy."""
    grid = make_grid(np.sort(everything), points, 40)
    grid.code[keep] |= KEEP
    places = grid.bins(everything)
    kept, counts = np.sort(everything[grid.keeps[places]]), None
    if condensed:
        kept, counts = np.unique(kept, return_counts=True)
    before = np.concatenate([[-np.inf], points])
    same_bin = [everything[places == grid.bins(points[k : k + 1])] for k in range(len(points))]
    below = [np.count_nonzero((s < p) & (s > b)) for s, p, b in zip(same_bin, points, before, strict=False)]
    equal = [np.count_nonzero(everything == p) for p in points]
    histogram = np.bincount(places, minlength=40)
    return Ranks(Scan(grid, histogram, np.array(below), np.array(equal), [np.zeros(4)], kept, counts))


@pytest.mark.parametrize("condensed", [False, True])
def test_order_statistics(condensed: bool) -> None:
    everything = scores_of(6, 500, digits=1)
    ranks = _ranks(everything, np.unique(scores_of(7, 30, digits=1)), slice(0, 40), condensed)
    ordered = np.sort(everything)[::-1]
    for rank in range(500):
        assert ranks.at(rank) == (ordered[rank], np.count_nonzero(everything > ordered[rank]))
        assert ranks.times(rank) == np.count_nonzero(everything == ordered[rank])
    assert ranks.below_points().tolist() == [np.count_nonzero(everything < p) for p in ranks.scan.grid.points]


def test_order_statistics_outside_of_kept_bins_name_what_is_missing() -> None:
    everything = scores_of(8, 500)
    ranks = _ranks(everything, NOTHING, slice(30, 40), False)
    rank = 400
    with pytest.raises(Missing) as missing:
        ranks.at(rank)
    place = int(ranks.scan.grid.bins(np.sort(everything)[::-1][rank : rank + 1])[0])
    assert missing.value.bins[0] == place and ranks.scan.histogram[missing.value.bins[1]] > 0
    again = _ranks(everything, NOTHING, slice(place, place + 1), False).scan
    ranks.add(again)
    assert ranks.at(rank)[0] == np.sort(everything)[::-1][rank]
    again.histogram[place] += 1
    with pytest.raises(MaskbenchError, match="gave other scores when repeated"):
        ranks.add(again)


@pytest.mark.parametrize("capacity", [40_000, 8_000, 1_000])
def test_windows_hold_what_will_be_asked_for_within_the_room_there_is(capacity: int) -> None:
    everything = scores_of(10, 100_000)
    ordered = np.sort(everything)
    grid = make_grid(ordered, NOTHING, 1 << 14)
    allpairs.expect(grid, ordered, [0.0001, 0.01, 0.1, 0.3], len(ordered), capacity)
    kept = grid.keeps[grid.bins(ordered[::-1])]  # by rank
    tail = min(1250, capacity // 4)
    assert kept[:tail].all() and kept[10_000] and kept[30_000]
    assert kept.sum() <= capacity * 0.6 and not kept[60_000:].any()


def test_everything_is_kept_where_there_is_room() -> None:
    ordered = np.sort(scores_of(11, 1000))
    for sample, total in ((ordered, 1000), (NOTHING, 10**9)):
        grid = make_grid(sample, NOTHING, 16)
        allpairs.expect(grid, sample, [0.1], total, 2000)
        assert grid.keeps.all()


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (16, 5), (100, 100)])
def test_blocks_cover_every_comparison_once(two: bool, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(9)
    sets = [Templates(rng.standard_normal((n, 3)).astype(np.float32), rng.integers(0, 6, n)) for n in (33, 21)]
    pairing = pair_up(sets[0], sets[1] if two else None, "cosine")
    ids = [sets[0].subject_ids[pairing.left.rows], sets[two].subject_ids[pairing.right.rows]]
    mated = ids[0][:, None] == ids[1][None]
    wanted = np.ones(mated.shape, bool) if two else np.triu(np.ones(mated.shape, bool), 1)
    seen = np.zeros((2, *mated.shape), int)
    for tile in tiles(pairing, shape):
        for i, (low, high) in enumerate(tile_skip(pairing, tile), start=tile[0]):
            seen[0, i, tile[2] : tile[2] + low] += 1
            seen[0, i, tile[2] + high : tile[3]] += 1
    for tile in mated_tiles(pairing, shape):
        for i, (low, high, _) in enumerate(tile_mated(pairing, tile), start=tile[0]):
            seen[1, i, tile[2] + low : tile[2] + high] += 1
    assert np.array_equal(seen[0], (wanted & ~mated).astype(int))
    assert np.array_equal(seen[1], (wanted & mated).astype(int))


@pytest.mark.parametrize("points", [0, 1, 3, 40, 900])
def test_the_compiled_pass_counts_as_numpy_does(points: int) -> None:
    """Bins with none, one and many points; ties with points; columns that are skipped; what is kept, in order."""
    rng = np.random.default_rng(points)
    scores = rng.integers(-500, 500, (30, 64)).astype(np.float32) / 512
    skip = np.sort(rng.integers(0, 51, (30, 2)), 1)
    columns = np.arange(64)
    seen = (columns < skip[:, :1]) | (columns >= skip[:, 1:])
    seen[:, 50:] = False  # padding
    some = scores[seen]
    grid = make_grid(np.sort(some), np.unique(rng.integers(-500, 500, points).astype(np.float32) / 512), 24)
    grid.code[17:] |= KEEP
    padded = np.concatenate([grid.points, np.full(4, np.inf, np.float32)])
    histogram, cells, sums = np.zeros(24, np.int64), np.zeros(2 * len(grid.points) + 2, np.int64), np.zeros(4)
    kept, places = np.empty(scores.size + 1, np.float32), [np.empty(65, np.uint32) for _ in range(2)]
    tables = grid.code, grid.start, padded, histogram, cells, sums, kept, *places
    n = scan_block(scores, 50, skip, (grid.low, grid.scale, np.float32(23), grid.pivot), tables)
    bins = grid.bins(some)
    assert np.array_equal(histogram, np.bincount(bins, minlength=24))
    assert np.array_equal(kept[:n], some[bins >= 17])
    scan = Scan(grid, histogram, cells[:-2:2], cells[1:-2:2], [sums], np.sort(kept[:n]), None)
    assert scan.equal.tolist() == [np.count_nonzero(some == p) for p in grid.points]
    assert Ranks(scan).below_points().tolist() == [np.count_nonzero(some < p) for p in grid.points]
    mean, std = Ranks(scan).moments()
    assert mean == pytest.approx(some.astype(np.float64).mean(), rel=1e-13, abs=1e-15)
    assert std == pytest.approx(some.astype(np.float64).std(), rel=1e-13)


def test_distances_and_mated_scores_of_a_block() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-9, 9, (5, 4)).astype(np.float32), rng.integers(-9, 9, (7, 4)).astype(np.float32)
    b[3] = a[2]
    scores = a @ b.T
    to_distances(scores, (a**2).sum(1), (b**2).sum(1))
    want = -np.sqrt(((a[:, None].astype(np.float64) - b) ** 2).sum(2))
    assert np.array_equal(scores, want.astype(np.float32))
    assert scores[2, 3] == 0 and not np.signbit(scores[2, 3])
    ranges = np.array([[0, 0, -1], [1, 4, 2], [0, 7, -1], [2, 3, 2], [6, 7, 9]])
    out = np.full(12, np.nan, np.float32)
    n = take_mated(scores, ranges, out, 1)
    assert np.array_equal(out[1:n], np.concatenate([scores[1, [1, 3]], scores[2], scores[4, 6:]]))
    assert np.isnan(out[0]) and n == 11


def test_one_score_everywhere_has_no_spread() -> None:
    vectors = np.tile(np.float32([0.3, 0.1, 0.7]), (9, 1))
    found = compare_all(Templates(vectors, np.arange(9) // 3))["metrics"]
    assert found["separation"]["i_std"] == found["separation"]["g_std"] == 0
    assert found["separation"]["d_prime"] is None and found["separation"]["reason"]
    assert found["auc"] == 0.5 and found["eer"]["value"] == 0.5


# ---------------------------------------------------------------- torch


def _exact_templates(seed: int, count: int = 60) -> Templates:
    rng = np.random.default_rng(seed)
    vectors = rng.choice([-1.0, 1.0], (count, 16)).astype(np.float32)
    return Templates(vectors, rng.integers(0, 9, count), np.arange(count), (rng.random(count) < 0.1).astype(int))


def _on_torch(monkeypatch, device: str) -> None:
    """Let the CPU option mean torch on that device."""
    from maskbench.allpairs_torch import TorchEngine

    monkeypatch.setattr(
        allpairs, "CpuEngine", lambda pairing, threads, tile, capacity: TorchEngine(pairing, device, tile, capacity)
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("comparator", ["cosine", "negative-l2"])
def test_torch_gives_the_same_figures(seed: int, comparator: str, monkeypatch) -> None:
    pytest.importorskip("torch")
    first = _exact_templates(seed)
    second = None if seed % 2 else _exact_templates(50 + seed, 40)
    if second:
        second = Templates(second.vectors, second.subject_ids, np.arange(1000, 1040), second.status)
    _on_torch(monkeypatch, "cpu")
    options = Options(bins=(16, 1 << 16)[seed % 2], kept=100, tile=(17, 29))
    assert not differences(reduced(compare_all(first, second, comparator, 0.25, options)),
                           expected(first, second, comparator, 0.25))  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize("comparator", ["cosine", "negative-l2"])
def test_cuda_gives_the_same_figures(comparator: str) -> None:
    templates = _exact_templates(7, 300)
    got = compare_all(templates, None, comparator, 0.25, Options(device="cuda"))
    assert not differences(reduced(got), reduced(compare_all(templates, None, comparator, 0.25)))


def test_a_device_that_is_not_there(monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MaskbenchError, match="device cuda: torch finds no GPU here; use cpu"):
        compare_all(_exact_templates(1), options=Options(device="cuda"))
    with pytest.raises(MaskbenchError, match='no device "tpu"; use cpu or cuda'):
        compare_all(_exact_templates(1), options=Options(device="tpu"))


# ---------------------------------------------------------------- files and the command


def _saved(path, templates: Templates, **change) -> str:  # noqa: ANN001
    arrays = {"vectors": templates.vectors, "sample_ids": np.arange(len(templates.vectors)).astype(str),
              "subject_ids": templates.subject_ids.astype(str), "status": templates.status} | change  # fmt: skip
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return str(path)


def test_the_command_writes_the_figures(tmp_path) -> None:
    first, second = _exact_templates(3), _exact_templates(4, 30)
    a = _saved(tmp_path / "a.npz", first)
    b = _saved(tmp_path / "b.npz", second, sample_ids=np.array([f"m{k}" for k in range(30)]))
    arguments = [a, "--probes", b, "--threshold", "0.25", "--threads", "1", "-o", str(tmp_path / "result.json")]
    outcome = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0 and "mated and" in outcome.output and "EER" in outcome.output
    written = json.loads((tmp_path / "result.json").read_text())
    want = compare_all(first, Templates(second.vectors, second.subject_ids, None, second.status), threshold=0.25)
    assert {name: written[name] for name in want} == json.loads(json.dumps(want))
    assert written["kind"] == "allpairs" and len(written["digests"]["probes"]) == 64


def test_subjects_from_a_table(tmp_path) -> None:
    templates = _exact_templates(5, 20)
    rows = "".join(f"{k},x,{subject}\n" for k, subject in enumerate(templates.subject_ids))
    (tmp_path / "samples.csv").write_text("sample_id,path,subject_id\n" + rows)
    path = _saved(tmp_path / "a.npz", templates, subject_ids=None)
    arguments = [path, "--subjects", str(tmp_path / "samples.csv"), "-o", str(tmp_path / "r.json")]
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert json.loads((tmp_path / "r.json").read_text())["metrics"] == compare_all(templates)["metrics"]


@pytest.mark.parametrize(
    ("change", "table", "message"),
    [
        ({"vectors": None}, None, 'holds no array "vectors"'),
        ({"subject_ids": None}, None, "or give --subjects samples.csv"),
        ({"vectors": np.array([object()])}, None, "not an .npz of arrays"),
        ({}, "sample_id,subject\n", r'samples.csv:1: no column "subject_id"'),
        ({}, "sample_id,subject_id\n0,a\n0,b\n", "samples.csv:3: sample 0 occurs twice"),
        ({}, "sample_id,subject_id\n0,a\n", "sample 1 is not in the table of subjects"),
    ],
)
def test_bad_files_are_one_line(tmp_path, change: dict, table: str | None, message: str) -> None:
    path = _saved(tmp_path / "a.npz", _exact_templates(6, 5), **change)
    more = []
    if table is not None:
        (tmp_path / "samples.csv").write_text(table)
        more = ["--subjects", str(tmp_path / "samples.csv")]
    with pytest.raises(MaskbenchError, match=message) as error:
        CliRunner().invoke(command, [path, *more, "-o", str(tmp_path / "r.json")], catch_exceptions=False)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_files_that_are_none(tmp_path) -> None:
    with pytest.raises(MaskbenchError, match="no such file"):
        load_templates(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(MaskbenchError, match="not an .npz of arrays"):
        load_templates(tmp_path / "text.npz")


# ---------------------------------------------------------------- limits

PEAK = """
import numpy as np
from maskbench.allpairs import Templates, compare_all
rng = np.random.default_rng(0)
ids = rng.integers(0, 5749, 13233)
vectors = rng.standard_normal((5749, 512), dtype=np.float32)[ids]
vectors += 2.5 * rng.standard_normal((13233, 512), dtype=np.float32)
found = compare_all(Templates(vectors, ids))
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])  # ru_maxrss would hold the parent's
print(found["counts"]["mated"] + found["counts"]["non_mated"], peak)
"""


@pytest.mark.slow
def test_peak_memory_of_all_pairs_of_lfws_size() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    pairs, kibibytes = map(int, done.stdout.split())
    assert pairs == 13233 * 13232 // 2
    assert kibibytes <= 1 << 20


@pytest.mark.slow
def test_further_passes_at_scale_agree_with_all_scores() -> None:
    """4,000 templates, 8 million scores: windows that miss, against one array of all of them."""
    rng = np.random.default_rng(2)
    ids = rng.integers(0, 700, 4000)
    vectors = (rng.standard_normal((700, 64))[ids] + 2 * rng.standard_normal((4000, 64))).astype(np.float32)
    templates = Templates(vectors, ids)
    pairing = pair_up(templates, None, "cosine")
    engine = CpuEngine(pairing, 1, (4000, 4000), 0)
    matrix = engine._product((0, 4000, 0, 4000), engine._buffer())
    take = np.triu(np.ones(matrix.shape, bool), 1)
    ordered = ids[pairing.left.rows]
    mated = (ordered[:, None] == ordered[None])[take]
    from maskbench.metrics.summary import summarise

    want = summarise(matrix[take], mated, np.zeros(len(mated), np.int8))
    for kept in (None, 100_000, 20_000):
        assert not differences(reduced(compare_all(templates, options=Options(kept=kept))), reduced(want))
