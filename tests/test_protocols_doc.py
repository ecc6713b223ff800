"""The document of the format says what the code does: its example runs, its keys and columns are those of the code."""

import re
from pathlib import Path

import pytest
import yaml

from maskbench import protocol_template, protocols
from maskbench.protocol_lists import OPTIONAL, REQUIRED
from maskbench.protocol_making import MAKERS
from maskbench.protocol_tables import PAIR_COLUMNS, SAMPLE_COLUMNS, TEMPLATE_COLUMNS
from maskbench.protocol_template import load_template, shipped_templates
from maskbench.protocols import load_protocol, protocol_counts

TEXT = (Path(__file__).parents[1] / "docs" / "protocols.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def faces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for person in ("ana", "bo", "cem"):
        (tmp_path / "faces" / person).mkdir(parents=True)
        for kind in ("badge", "door"):
            (tmp_path / "faces" / person / f"{person}_{kind}.png").write_bytes(f"{person} {kind}".encode())
    return tmp_path


def test_the_examples_run(faces):
    drawn, own = blocks("python")
    exec(drawn, {})
    assert load_protocol(faces / "office").name == "office-15"  # 3 mated, 12 non-mated: all that there are
    exec(own, {})
    protocol = load_protocol(faces / "badges")
    assert protocol_counts(protocol) == {
        "samples": 6, "subjects": 3, "pairs": 9, "mated": 3, "non_mated": 6, "folds": 0,
    }  # fmt: skip


def test_the_header_is_complete():
    (text,) = blocks("yaml")
    assert list(yaml.safe_load(text)) == [
        "format_version", "name", "version", "description", "licence", "source", "threshold_from", "conditions",
        "counts",
    ]  # fmt: skip
    table = re.findall(r"^\| (`.*?) \| (yes|no) \|", TEXT, re.MULTILINE)
    documented = {key: needed == "yes" for keys, needed in table for key in re.findall(r"`(\w+)`", keys)}
    assert set(documented) == set(protocols.HEADER_KEYS)
    assert {key for key, needed in documented.items() if needed} == set(protocols.REQUIRED_KEYS)


@pytest.mark.parametrize(("heading", "columns"), [
    ("samples.csv", SAMPLE_COLUMNS), ("pairs.csv", PAIR_COLUMNS), ("templates.csv", TEMPLATE_COLUMNS),
])
def test_every_column_is_explained_in_its_order(heading, columns):
    section = TEXT.partition(f"### {heading}\n")[2].partition("\n#")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    assert tuple(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == columns


# ---------------------------------------------------------------- templates


def section(heading):
    """The text below a heading, up to the next one of its level or higher."""
    following = rf"\n#{{2,{len(heading.split()[0])}}} "
    return re.split(following, TEXT.partition(f"\n{heading}\n")[2], maxsplit=1)[0]


def flat(text):
    return " ".join(text.split()).replace("|", "\\|")


def test_every_key_of_a_template_is_explained():
    table = re.findall(r"^\| (`.*?) \| (required|optional) \|", section("## Templates"), re.MULTILINE)
    documented = {key: needed == "required" for keys, needed in table for key in re.findall(r"`(\w+)`", keys)}
    assert set(documented) == set(protocol_template.KNOWN)
    assert {key for key, needed in documented.items() if needed} == set(protocol_template.REQUIRED)


def test_every_maker_and_its_options_are_named():
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \| (.*?) \|$", section("## Templates"), re.MULTILINE)
    found = {name: (faces, set(re.findall(r"--([\w-]+)", options))) for name, faces, options in rows if name in MAKERS}
    assert found == {
        name: (maker.faces, {option.name.replace("_", "-") for option in maker.options})
        for name, maker in MAKERS.items()
    }


def test_the_columns_of_a_custom_list_are_explained():
    table = re.findall(r"^\| (`.*?) \| (required|optional)", section("### custom"), re.MULTILINE)
    documented = {key: needed for keys, needed in table for key in re.findall(r"`(\w+)`", keys)}
    assert {key for key, needed in documented.items() if needed == "required"} == set(REQUIRED)
    assert {key for key, needed in documented.items() if needed == "optional"} == set(OPTIONAL)


@pytest.mark.parametrize("name", sorted(shipped_templates()))
def test_every_protocol_has_its_page(name):
    template, text = load_template(name), section(f"### {name}")
    for words in (template.description, template.source, template.licence, template.data, MAKERS[template.maker].faces):
        assert flat(words) in text
    for words in (*template.deviations, *template.not_stated):
        assert f"\n- {flat(words)}\n" in text
    assert ", ".join(template.conditions) + f"; thresholds from {template.threshold_from}" in text
    for table in (template.counts_expected, template.data_counts):
        for key, value in table.items():
            assert f"{value:,} {key.replace('_', ' ')}" in text
    for metric in template.metrics:
        assert f"`{metric}`" in text
    if template.masking:
        assert f"recipe `{template.masking['recipe']}`, version {template.masking['version']}" in text


def test_the_table_of_occlusion_codes_is_that_of_the_recipes():
    from maskbench.masking.recipes import load_recipe

    rows = dict(re.findall(r"^\| `(o[1-7])` \| ([\d, ]+) \|$", section("### ocfr-2022"), re.MULTILINE))
    assert len(rows) == 7
    for name, codes in rows.items():
        mix = load_recipe(f"ocfr-{name}").mix
        assert [entry.name for entry in mix] == [f"code-{code.strip()}" for code in codes.split(",")]
        assert len({entry.weight for entry in mix}) == 1
