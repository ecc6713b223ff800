import dataclasses
import struct
import subprocess
import sys

import numpy as np
import pytest
from results_fixture import make_protocol, make_run

from maskbench.errors import MaskbenchError, ResultError
from maskbench.metrics.conditions import condition_labels
from maskbench.metrics.curves import det
from maskbench.report.plots import COLOURS, POINTS, STYLES, curves, draw, plot_results, render, staircase
from maskbench.results import Run


def run_of(name="plain", noise=0.6, masked_noise=1.1, failed=0, **fields):
    result, scores, protocol = make_run(name, noise, masked_noise, failed, **fields)
    return Run(result, scores, condition_labels(protocol.pairs))


@pytest.fixture(scope="module")
def runs():
    return [run_of("sharp", 0.4, 0.6), run_of("plain", 0.6, 1.1, 3)]


def fnmr_allowed(mated, non_mated, budget):
    """The lowest FNMR of any threshold with FMR <= budget, by trying them all: the oracle for a DET."""
    best = 1.0
    for threshold in [*np.unique([*mated, *non_mated]), np.inf]:
        if np.mean(non_mated >= threshold) <= budget:
            best = min(best, np.mean(mated < threshold))
    return best


# ---------------------------------------------------------------- curves


def test_one_curve_for_each_run_and_condition(runs):
    found = curves(runs)
    assert [(curve.model, curve.condition) for curve in found] == [
        (name, condition) for name in ("sharp", "plain") for condition in ("UMR-UMP", "UMR-MP", "MR-MP")
    ]
    assert [(curve.mated, curve.non_mated) for curve in found[:3]] == [(50, 150)] * 3
    failed = found[-1]
    counts = runs[1].result.counts["MR-MP"]
    assert (failed.mated, failed.non_mated) == (counts["mated_completed"], counts["non_mated_completed"])
    assert failed.mated < 50


def test_the_staircase_is_what_every_fmr_allows(runs):
    run = runs[1]
    rows = (run.condition == "UMR-MP") & (run.scores.status == 0)
    mated, non_mated = run.scores.scores[rows & run.scores.mated], run.scores.scores[rows & ~run.scores.mated]
    (curve,) = [curve for curve in curves([run]) if curve.condition == "UMR-MP"]
    fmr, fnmr = staircase(curve.det)
    assert (fmr > 0).all()
    assert fmr[-1] == 1
    for budget in (1 / len(non_mated), 0.013, 0.05, 0.3, 0.77, 1.0):
        drawn = fnmr[np.searchsorted(fmr, budget, "right") - 1]  # steps-post: the value of the step on the left
        assert drawn == fnmr_allowed(mated, non_mated, budget)


def test_long_curves_are_thinned_to_points_of_the_curve():
    rng = np.random.default_rng(3)
    exact = det(rng.normal(1, 1, 30_000), rng.normal(0, 1, 30_000))
    fmr, fnmr = staircase(exact)
    assert len(fmr) <= POINTS < len(exact)
    points = set(zip(exact.fmr.tolist(), exact.fnmr.tolist(), strict=True))
    assert all(point in points for point in zip(fmr.tolist(), fnmr.tolist(), strict=True))


def test_reported_points_lie_on_the_curves(runs):
    for curve in curves(runs):
        fmr, fnmr = staircase(curve.det)
        measured, reported = curve.fmr100
        assert measured <= 0.01
        assert fnmr[fmr == measured] == reported
        step = max(1 / curve.mated, 1 / curve.non_mated)
        nearest = np.abs(fmr - curve.eer) + np.abs(fnmr - curve.eer)
        assert nearest.min() <= 2 * step


def test_conditions_that_were_not_run_have_no_curve(runs):
    result, scores, protocol = make_run("half")
    status = np.where(condition_labels(protocol.pairs) == "UMR-UMP", scores.status, 2).astype(np.int8)
    values = np.where(status == 0, scores.scores, np.nan).astype(np.float32)
    half = Run(result, dataclasses.replace(scores, scores=values, status=status), condition_labels(protocol.pairs))
    assert [curve.condition for curve in curves([half])] == ["UMR-UMP"]
    nothing = dataclasses.replace(scores, scores=values * np.nan, status=np.full_like(status, 1))
    with pytest.raises(ResultError, match="nothing to draw"):
        render([Run(result, nothing, half.condition)])
    with pytest.raises(ResultError, match="nothing to draw"):
        render([])


def test_names_tell_runs_apart():
    variants = [
        run_of(), run_of(), run_of(completion="rpca", mask_source="segmenter"),
        run_of(completion="rpca", mask_source="oracle"), run_of(completion="gl", mask_source="oracle"),
    ]  # fmt: skip
    assert list(dict.fromkeys(curve.model for curve in curves(variants))) == [
        "plain (none) #1", "plain (none) #2", "plain + rpca (segmenter)", "plain + rpca (oracle)", "plain + gl",
    ]  # fmt: skip


@pytest.mark.parametrize("fields", [
    {"protocol": make_protocol(version=2)}, {"digests": {"manifest": "0" * 64}}, {"align": "source"},
])  # fmt: skip
def test_results_that_must_not_be_compared_share_no_picture(runs, fields):
    with pytest.raises(ResultError, match="differ in protocol, masked set or alignment"):
        render([*runs, run_of("other", **fields)])


# ---------------------------------------------------------------- the picture


def test_colour_is_the_model_and_style_the_condition(runs):
    roc, right = draw(runs).axes
    for axes in (roc, right):
        lines = [line for line in axes.get_lines() if line.get_drawstyle() == "steps-post"]
        assert [line.get_color() for line in lines] == [COLOURS[0]] * 3 + [COLOURS[1]] * 3
        assert len({line._unscaled_dash_pattern for line in lines[:3]}) == 3
        assert axes.get_xscale() == "log"
    assert right.get_yscale() == "function"


def test_both_panels_show_the_same_points(runs):
    roc, right = draw(runs).axes
    steps = [[line for line in axes.get_lines() if line.get_drawstyle() == "steps-post"] for axes in (roc, right)]
    floor = right.get_ylim()[0]
    for upper, lower in zip(*steps, strict=True):
        np.testing.assert_array_equal(upper.get_xdata(), lower.get_xdata())
        shown = lower.get_ydata() > floor
        np.testing.assert_allclose(1 - upper.get_ydata()[shown], lower.get_ydata()[shown], atol=1e-12)


def test_bands_show_what_the_protocol_cannot_resolve(runs):
    roc, _ = draw(runs).axes
    ends = sorted(patch.get_x() + patch.get_width() for patch in roc.patches)
    fewest = min(curve.non_mated for curve in curves(runs))
    np.testing.assert_allclose(ends, [1 / fewest, 30 / fewest])


def test_the_legend_names_everything(runs):
    texts = [text.get_text() for legend in draw(runs).legends for text in legend.get_texts()]
    assert texts[:2] == ["sharp", "plain"]
    assert texts[2] == "UMR-UMP  (50 mated, 150 non-mated)"
    assert {"EER", "FNMR at FMR ≤ 1 %"} <= set(texts)


def test_many_models_have_colours_of_their_own():
    many = [run_of(f"a-recognizer-with-quite-a-long-name-{index}$x_1$", 0.4 + 0.05 * index) for index in range(9)]
    figure = draw(many)
    colours = {line.get_color() if isinstance(line.get_color(), str) else tuple(line.get_color())
               for line in figure.axes[0].get_lines() if line.get_drawstyle() == "steps-post"}  # fmt: skip
    assert len(colours) == 9
    assert render(many).startswith(b"\x89PNG")


def test_one_model_alone_gets_a_colour_for_each_condition():
    def drawn(runs):
        return [line.get_color() for line in draw(runs).axes[0].get_lines() if line.get_drawstyle() == "steps-post"]

    one, other = run_of("one", 0.5), run_of("other", 0.7)
    assert len(set(drawn([one]))) == len(drawn([one])) == 3
    assert len(set(drawn([one, other]))) == 2 and len(drawn([one, other])) == 6


def test_every_condition_has_a_style():
    from maskbench.metrics.conditions import LABELS

    assert set(STYLES) == set(LABELS)
    assert len(set(STYLES.values())) == len(STYLES)


@pytest.mark.parametrize("scores", [
    (np.ones(600), "all tied"), (np.where(np.arange(600) % 4 == 0, 1.0, 0.0), "perfect"),
    (np.where(np.arange(600) % 4 == 0, 0.0, 1.0), "all wrong"), (np.full(600, -np.inf), "infinite"),
], ids=lambda case: case[1])  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_extreme_scores_are_drawn_without_a_warning(scores):
    run = run_of()
    result = dataclasses.replace(run.result, metrics={})
    assert len(render([Run(result, dataclasses.replace(run.scores, scores=scores[0]), run.condition)])) > 10_000


def test_a_single_non_mated_comparison():
    run = run_of()
    keep = np.flatnonzero(run.condition == "UMR-UMP")[:2]
    scores = dataclasses.replace(
        run.scores, scores=run.scores.scores[keep], mated=run.scores.mated[keep], status=run.scores.status[keep]
    )
    assert [(c.mated, c.non_mated) for c in curves([Run(run.result, scores, run.condition[keep])])] == [(1, 1)]
    assert render([Run(run.result, scores, run.condition[keep])])


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(("name", "start"), [("x.png", b"\x89PNG"), ("x.SVG", b"<?xml"), ("x.pdf", b"%PDF")])
def test_formats_by_extension_with_the_same_bytes_each_time(runs, tmp_path, name, start):
    plot_results(runs, tmp_path / "deep" / name)
    data = (tmp_path / "deep" / name).read_bytes()
    assert data.startswith(start)
    plot_results(runs, tmp_path / name)
    assert (tmp_path / name).read_bytes() == data
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [name]
    for word in (b"Date", b"Software"):
        assert word not in data


def test_the_size_of_the_picture(runs):
    width, height = struct.unpack(">II", render(runs)[16:24])
    assert width == 1650
    assert 900 < height < 1200


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.html"])
def test_other_formats_are_refused(runs, tmp_path, name):
    with pytest.raises(MaskbenchError, match=r"use \.png, \.svg, \.pdf"):
        plot_results(runs, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_users_style_does_not_matter(runs):
    import matplotlib as mpl

    before = render(runs)
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "black", "savefig.bbox": "tight"}):
        assert render(runs) == before
        assert mpl.rcParams["font.size"] == 30


def test_importing_plots_does_not_import_matplotlib():
    code = "import sys, maskbench.report.plots; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "False"]
