"""The options of maskbench synthesize that decide what is drawn, and what is recorded of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskbench.cli.main import main
from maskbench.manifest import read_manifest
from maskbench.masking.assets import select_assets
from maskbench.masking.placement import from_json
from maskbench.masking.recipes import load_recipe
from maskbench.masking.sizing import size_for_fraction
from maskbench.protocols import build_protocol, make_folders, write_protocol


@pytest.fixture
def masked(crop_folder, tmp_path: Path, capsys):
    """Mask eight crops with options: (exit code, standard error, placements, synthesis.json)."""
    faces = crop_folder(8)

    def run(*options: str):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        with pytest.raises(SystemExit) as ended:
            main(["synthesize", str(faces), str(out), "--workers", "1", "--landmarks", "aligned", *options])
        code = int(ended.value.code or 0)
        if code:
            return code, capsys.readouterr().err, [], {}
        rows = read_manifest(out / "manifest.csv")
        placements = [placement for row in rows for placement in from_json(row.placement)]
        return code, "", placements, json.loads((out / "synthesis.json").read_text())

    return run


def test_without_options_the_recipe_worn_is_drawn_and_recorded_whole(masked):
    code, _, placements, recorded = masked()
    recipe = load_recipe("worn")
    assert code == 0 and len(placements) == 8
    assert recorded["recipe"] == json.loads(json.dumps(recipe.to_dict())) and recorded["recipe_sha256"] == recipe.digest
    assert {p.parameters["entry"] for p in placements} <= {entry.name for entry in recipe.mix}
    assert "surgical" in recorded["masks"] and recorded["sizes"] == {}


def test_shapes_colours_and_styles(masked):
    _, _, placements, recorded = masked("--coverage", "high,medium", "--shape", "wide", "--colour", "red,white")
    assert {p.asset_id for p in placements} <= {"nist-wide-high", "nist-wide-medium"}
    assert {p.colour for p in placements} <= {"red", "white"}
    assert recorded["recipe"]["options"] == {
        "coverage": ["high", "medium"], "shape": ["wide"], "colour": ["red", "white"],
    }  # fmt: skip
    styles = ("--style", "under-nose", "--style", "mouth-only")
    _, _, placements, _ = masked("--mask", "surgical", *styles, "--colour", "#112233")
    assert {p.style for p in placements} <= {"under-nose", "mouth-only"}
    assert {p.colour for p in placements} == {"#112233"}


def test_a_fraction_is_recorded_with_the_sizes_it_takes(masked):
    _, _, placements, recorded = masked("--mask", "surgical,n95", "--fraction", "0.2")
    sizes = {name: size_for_fraction(select_assets(name)[0], 0.2) for name in ("n95", "surgical")}
    assert recorded["sizes"] == {name: {"correct": size} for name, size in sizes.items()}
    assert all(p.size == sizes[p.asset_id] for p in placements)


def test_a_recipe_of_ones_own(masked, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    text = "name: mine\nversion: 3\ndescription: d\nsource: none\nseeds: [9, 8, 7, 6, 5]\nmix:\n"
    both = "{masks: [kn95], styles: {under-chin: 1}}, {masks: [n95]}"
    path.write_text(text + f"  - {{name: all, weight: 1, wear: [{both}]}}\n")
    _, _, placements, recorded = masked("--recipe", str(path), "--seed", "9")
    assert [p.asset_id for p in placements] == ["kn95", "n95"] * 8
    assert recorded["recipe"]["name"] == "mine" and recorded["recipe"]["version"] == 3 and recorded["seed"] == 9
    path.write_text(text + "  - {name: all, weight: 1, where: []}\n")
    code, error, _, _ = masked("--recipe", str(path))
    assert code == 2 and f"{path}:7: unknown key 'where' of an entry of mix; did you mean \"wear\"?" in error


def test_a_protocol_brings_its_recipe_and_seed_unless_others_are_given(masked, tmp_path: Path):
    made = make_folders(tmp_path / "faces", 20)
    masking = {"recipe": "nist6b", "version": 1, "seed": 4}
    samples, folder = list(made.samples.values()), tmp_path / "protocol"
    write_protocol(build_protocol("toy", 1, samples, made.pairs, made.threshold_from, masking=masking), folder)
    _, _, placements, recorded = masked("--protocol", str(folder))
    assert recorded["recipe"]["name"] == "nist6b" and recorded["seed"] == 4
    assert {p.asset_id.split("-")[0] for p in placements} == {"nist"} and {p.seed for p in placements} == {4}
    _, _, placements, recorded = masked("--protocol", str(folder), "--seed", "2")
    assert recorded["recipe"]["name"] == "nist6b" and {p.seed for p in placements} == {2}
    _, _, placements, recorded = masked("--protocol", str(folder), "--mask", "kn95")
    assert {p.asset_id for p in placements} == {"kn95"} and recorded["seed"] == 4
    later = build_protocol("toy", 1, samples, made.pairs, made.threshold_from, masking=masking | {"version": 2})
    write_protocol(later, folder)
    code, error, _, _ = masked("--protocol", str(folder))
    assert code == 2 and "recipe nist6b has version 1, version 2 is wanted" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recipe", "wron"), 'no recipe named "wron"; did you mean "worn"?'),
        (("--recipe", "worn", "--mask", "n95"), "--recipe and --mask exclude each other"),
        (("--mask", "n95", "--colour", "pink"), "mask n95 has no colour pink; it has teal, white"),
        (("--mask", "surgicla"), 'no mask named "surgicla"; did you mean "surgical"?'),
        (("--style", "backwards"), 'no style "backwards"; known: correct, mouth-only, under-chin, under-nose'),
        (("--coverage", "full"), 'no coverage "full"'),
        (("--fraction", "1.2"), "--fraction: 1.2 is no share of the face"),
        (("--mask", "n95", "--fraction", "0.95"), "mask n95 cannot cover 0.95 of the face"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(masked, tmp_path: Path, options, message):
    code, error, _, _ = masked(*options)
    assert code == 2 and message in error and error.count("\n") == 1
    assert not list(tmp_path.glob("out*/*"))


def test_colours_change_the_protocols_own_recipe_and_leave_its_masks(masked, tmp_path: Path):
    made = make_folders(tmp_path / "faces", 20)
    made = build_protocol(
        "toy", 1, list(made.samples.values()), made.pairs, "UMR-UMP",
        masking={"recipe": "lfw-masked", "version": 1, "seed": 3},
    )  # fmt: skip
    write_protocol(made, tmp_path / "toy-protocol")
    _, _, placements, recorded = masked("--protocol", str(tmp_path / "toy-protocol"), "--colour", "white")
    assert recorded["recipe"]["name"] == "lfw-masked" and recorded["seed"] == 3
    assert {p.colour for p in placements} == {"white"}
    assert {p.asset_id for p in placements} <= {"surgical", "ffp2", "kn95", "n95"}


def test_the_ar_database_is_never_pasted_over(crop_folder, tmp_path: Path, capsys):
    faces = crop_folder(2)
    picture = next(path for path in sorted(faces.rglob("*")) if path.is_file())
    picture.rename(faces / "m-001-08.png")
    with pytest.raises(SystemExit) as ended:
        main(["synthesize", str(faces), str(tmp_path / "out"), "--landmarks", "aligned"])
    assert ended.value.code == 2 and "never pasted over" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
