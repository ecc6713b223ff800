from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mask_photos import mask_photo, write_photo

from maskbench.cli.main import main
from maskbench.images import read_image, write_image
from maskbench.masking.assets import list_assets, shipped_root

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def call(capsys: pytest.CaptureFixture):
    """Run ``maskbench masks`` in this process: (exit code, standard output, standard error)."""

    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["masks", *map(str, arguments)])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with one mask, a copy of a shipped one."""
    shutil.copytree(shipped_root() / "cloth", tmp_path / "masks" / "mine")
    change(tmp_path / "masks" / "mine", id="mine", kind="knitted", regions=["lower", "eye"])
    return tmp_path / "masks"


def change(folder: Path, **values) -> None:
    data = json.loads((folder / "asset.json").read_text())
    (folder / "asset.json").write_text(json.dumps(data | values))


@pytest.mark.parametrize("command", ["list", "show", "preview", "check", "new"])
def test_every_command_has_help_and_is_documented(call, command: str):
    code, text, _ = call(command, "--help")
    assert code == 0 and f"Usage: maskbench masks {command}" in text and "Example:" in text
    assert f"maskbench masks {command}" in (DOCS / "masks.md").read_text(encoding="utf-8")


def test_the_list_has_one_line_for_each_mask_when_piped(call, mine: Path):
    code, text, _ = call("list", "--masks-dir", mine)
    header, *lines = text.splitlines()
    assert code == 0 and header.split() == ["mask", "category", "kind", "hides", "shape", "colours"]
    assert [line.split()[0] for line in lines] == sorted([*list_assets(), "mine"])
    (line,) = [line for line in lines if line.startswith("mine ")]
    assert line.split(maxsplit=3)[:3] == ["mine", "simple", "knitted"] and "lower, eye" in line
    assert line.endswith("black, navy, grey, red, beige, olive") and "\x1b" not in text
    column = header.index("kind")
    assert all(line[column - 1] == " " != line[column] for line in lines)


def test_the_list_can_be_narrowed_and_be_json(call, mine: Path):
    code, text, _ = call("list", "--masks-dir", mine, "--kind", "knitted", "--kind", "n95", "--json")
    rows = json.loads(text)
    assert code == 0 and [row["id"] for row in rows] == ["mine", "n95"]
    assert rows[0]["regions"] == ["lower", "eye"] and rows[0]["colourways"]["navy"] == [48, 62, 98]
    assert 0.2 < rows[1]["covered_fraction"] < 0.7 and rows[0]["folder"] == str(mine / "mine")
    code, text, _ = call("list", "--masks-dir", mine, "--region", "eye", "--category", "simple")
    assert "mine" in text and "surgical" not in text
    assert call("list", "--kind", "knitted")[0] == 2


def test_show_says_everything_and_writes_a_picture(call, tmp_path: Path):
    code, text, _ = call("show", "n95", "-o", tmp_path / "n95.png")
    facts = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    assert code == 0 and facts["id"] == "n95" and facts["name"] == "N95 cup respirator" and len(facts["sha256"]) == 64
    assert facts["licence"] == "Apache-2.0" and "white (#f3f2ec)" in facts["colourways"]
    assert facts["texture"] == "512x512 pixels" and facts["geometry"].startswith("1 sheets, 2 ribbons")
    assert facts["written:"] == str(tmp_path / "n95.png") and read_image(tmp_path / "n95.png").shape[1] > 600
    code, text, _ = call("show", "n95", "--json")
    assert code == 0 and json.loads(text)["sha256"] == facts["sha256"]
    code, _, error = call("show", "n59")
    assert code == 2 and 'no mask named "n59"; did you mean "n95"' in error
    for several in ("n95,kn95", "all"):
        code, _, error = call("show", several)
        assert code == 2 and "no mask named" in error


def test_preview_draws_chosen_masks_on_chosen_faces(call, tmp_path: Path, mine: Path):
    out = tmp_path / "sheet.png"
    code, text, _ = call("preview", out, "--kind", "n95", "--kind", "kn95", "--side", 64)
    sheet = read_image(out)
    assert code == 0 and text == f"written: {out}\n" and sheet.shape[1] == 3 * 64 and sheet.shape[0] > 4 * 64
    code, text, _ = call("preview", out, "--mask", "n95,cloth-check", "--colour", "white", "--side", 64, "--columns", 2)
    assert code == 0 and text.startswith("left out: 1 masks without a colour white\n")
    write_image(tmp_path / "plain.png", np.full((300, 300, 3), 90, np.uint8))
    code, _, error = call("preview", out, "--mask", "n95", "--face", tmp_path / "plain.png")
    assert code == 2 and "plain.png: no face found" in error
    assert call("preview", out, "--side", "0")[0] == 2
    code, _, error = call("preview", out, "--mask", "n95", "--colour", "#12345")
    assert code == 2 and 'no mask has a colour "#12345"' in error


def test_check_lists_every_fault_and_ends_with_2(call, mine: Path):
    change(mine / "mine", category="nice", licence="")
    (mine / "mine" / "texture.png").unlink()
    code, text, error = call("check", mine)
    lines = text.splitlines()
    assert code == 2 and len(lines) == 3 and all(line.startswith(f"error: {mine / 'mine'}") for line in lines)
    assert error == "error: 3 faults in 1 masks must be mended; each is named above\n"
    shutil.copytree(mine / "mine", mine.parent / "more" / "mine")
    code, text, _ = call("check", mine, mine.parent / "more")
    assert code == 2 and "a mask named mine exists at" in text and len(text.splitlines()) == 7
    code, _, error = call("check", "n59")
    assert code == 2 and 'did you mean "n95"' in error


def test_new_makes_a_mask_that_check_and_preview_take(call, tmp_path: Path):
    photo, out = tmp_path / "photo.png", tmp_path / "masks"
    write_photo(photo, mask_photo(9, half=(100, 60), size=(280, 240)))
    code, text, error = call(
        "new", photo, "--id", "my-mask", "--out", out, "--name", "Mine", "--kind", "cloth", "--licence", "CC0-1.0",
        "--source", "me", "--template", "kn95", "--strap-colour", "#203040",
    )  # fmt: skip
    assert (code, error) == (0, "") and text.startswith(f"written: {out / 'my-mask'} ")
    facts = json.loads(call("show", "my-mask", "--masks-dir", out, "--json")[1])
    assert [facts[key] for key in ("name", "kind", "licence", "source")] == ["Mine", "cloth", "CC0-1.0", "me"]
    code, text, _ = call("check", "--strict", out)
    assert (code, text) == (0, "1 checked, 0 warnings, no error\n")
    assert call("preview", tmp_path / "sheet.png", "--masks-dir", out, "--mask", "my-mask", "--side", 64)[0] == 0
    code, _, error = call("new", photo, "--id", "my-mask", "--out", out)
    assert code == 2 and "exists; choose another --id" in error and error.count("\n") == 1
    anchors = out / "my-mask" / "anchors.json"
    code, _, _ = call("new", photo, "--id", "my-mask", "--out", out, "--anchors", anchors, "--force")
    assert code == 0


def test_strict_makes_warnings_count(call, mine: Path):
    """The copy says that it hides the eyes, which it does not."""
    straps = json.loads((mine / "mine" / "asset.json").read_text())["geometry"] | {"ribbons": []}
    change(mine / "mine", geometry=straps)
    code, text, _ = call("check", mine / "mine")
    assert code == 0 and text.startswith("warning: ") and text.endswith("1 checked, 1 warnings, no error\n")
    code, text, error = call("check", mine / "mine", "--strict")
    assert code == 2 and "1 faults in 1 masks" in error
