from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from maskbench.datasets.celeba import (
    CELEBA256,
    identity_split,
    open_celeba,
    random_split,
    read_identities,
    read_landmarks,
    read_partition,
)
from maskbench.errors import MaskbenchError

NAMES = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


def put(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def landmark_list(stems):
    rows = [f"{stem}.jpg  {'  '.join(str(10 * k + index) for k in range(10))}" for index, stem in enumerate(stems)]
    return "\n".join([str(len(rows)), NAMES, *rows]) + "\n"


@pytest.fixture
def layout(tmp_path):
    """CelebA as its archives unpack: three listed pictures, one of them absent, and one file nobody listed."""
    root = tmp_path / "CelebA"
    for folder in ("img_align_celeba", "img_celeba"):
        for name in ("000001.jpg", "000003.jpg", "999999.jpg", "notes.txt"):
            put(root / "Img" / folder / name)
    put(root / "Anno" / "identity_CelebA.txt", "000001.jpg 2880\n000002.jpg 2937\n000003.jpg 8692\n")
    for name in ("list_landmarks_celeba.txt", "list_landmarks_align_celeba.txt"):
        put(root / "Anno" / name, landmark_list(["000001", "000002", "000003"]))
    put(root / "Eval" / "list_eval_partition.txt", "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    return root


# ---------------------------------------------------------------- layout


def test_everything_is_found_where_the_archives_put_it(layout):
    found = open_celeba(layout)
    assert (found.kind, found.pictures) == ("wild", layout / "Img" / "img_celeba")
    assert found.files == {"000001": "000001.jpg", "000003": "000003.jpg"} and found.missing == ["000002"]
    assert found.others == {
        "999999.jpg": ("skipped", "not in identity_CelebA.txt"), "notes.txt": ("skipped", "not an image file name"),
    }  # fmt: skip
    assert found.identities["000003"] == "8692"
    assert found.points["000003"].tolist() == [[2, 12], [22, 32], [42, 52], [62, 72], [82, 92]]
    assert found.partition == {"000001": "train", "000002": "validation", "000003": "test"}


def test_everything_in_one_folder_and_lossless_crops_are_found_too(tmp_path):
    put(tmp_path / "img_align_celeba_png" / "img_align_celeba_png" / "000001.png")
    put(tmp_path / "identity_CelebA.txt", "000001.jpg 1\n")
    found = open_celeba(tmp_path)
    assert found.files == {"000001": "000001.png"} and found.kind == "aligned"
    assert found.points is None and found.partition is None


def test_auto_takes_the_crops_where_the_photographs_have_no_landmarks(layout):
    assert open_celeba(layout, "aligned").kind == "aligned"
    (layout / "Anno" / "list_landmarks_celeba.txt").unlink()
    assert open_celeba(layout).kind == "aligned"
    with pytest.raises(MaskbenchError, match="no list_landmarks_celeba.txt, without which nobody knows whose face"):
        open_celeba(layout, "wild")


@pytest.mark.parametrize(("removed", "pictures", "words"), [
    ("Anno/identity_CelebA.txt", "auto", "no identity_CelebA.txt in it or one level below, which says who"),
    ("Img", "auto", "no folder img_celeba or img_align_celeba"),
    ("Img/img_align_celeba", "aligned", "no folder img_align_celeba"),
    ("Img/img_celeba", "wild", "no folder img_celeba in it"),
    ("", "crops", 'no pictures "crops"'),
])  # fmt: skip
def test_what_is_missing_is_named_with_a_remedy(layout, removed, pictures, words):
    import shutil

    target = layout / removed
    if removed:
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(MaskbenchError, match=words) as caught:
        open_celeba(layout, pictures)
    assert "\n" not in str(caught.value)


def test_no_listed_picture_and_one_picture_twice(layout):
    put(layout / "Img" / "img_celeba" / "000001.png")
    with pytest.raises(MaskbenchError, match=r"both 000001\.jpg and 000001\.png are picture 000001"):
        open_celeba(layout)
    put(layout / "Anno" / "identity_CelebA.txt", "123456.jpg 1\n")
    with pytest.raises(MaskbenchError, match="holds no picture that identity_CelebA.txt names"):
        open_celeba(layout, "aligned")
    with pytest.raises(MaskbenchError, match="not a folder that can be read"):
        open_celeba(layout / "nowhere")


# ---------------------------------------------------------------- lists


def test_lists_with_windows_line_ends_and_blank_lines(tmp_path):
    assert read_identities(put(tmp_path / "i.txt", "000001.jpg 5\r\n\r\n000002.jpg  6 \r\n")) == {
        "000001": "5", "000002": "6",
    }  # fmt: skip
    assert read_partition(put(tmp_path / "p.txt", "a.jpg 2\nb.jpg 0")) == {"a": "test", "b": "train"}


@pytest.mark.parametrize(("reader", "text", "line", "words"), [
    (read_identities, "", 1, "empty"),
    (read_identities, "000001.jpg 5\n000002.jpg\n", 2, "expected a picture and an identity"),
    (read_identities, "000001.jpg ../5\n", 1, "expected a picture and an identity"),
    (read_identities, "000001.jpg 5\n000001.png 6\n", 2, "already on line 1"),
    (read_partition, "000001.jpg 3\n", 1, "0, 1 or 2"),
    (read_partition, "image_id,partition\n", 1, "0, 1 or 2"),
    (read_landmarks, "", 1, "expected the number of pictures"),
    (read_landmarks, "000001.jpg 1 2\n", 1, "expected the number of pictures"),
    (read_landmarks, landmark_list(["a", "b"]).replace("2\n", "3\n", 1), 1, "promises 3 pictures, the file has 2"),
    (read_landmarks, landmark_list(["a", "b"]).replace("91", "x"), 4, "ten numbers"),
    (read_landmarks, landmark_list(["a", "b"]).replace("91", "nan"), 4, "ten numbers"),
    (read_landmarks, landmark_list(["a", "b"]).replace("  91", ""), 4, "ten numbers"),
    (read_landmarks, landmark_list(["a", "a"]), 4, "already on line 3"),
])  # fmt: skip
def test_malformed_lists_name_the_line(tmp_path, reader, text, line, words):
    path = put(tmp_path / "list.txt", text)
    with pytest.raises(MaskbenchError) as caught:
        reader(path)
    assert str(caught.value).startswith(f"{path}:{line}: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_template_shows_a_whole_head_upright():
    left, right, nose, *mouth = CELEBA256.points
    assert CELEBA256.size == (256, 256) and left[1] == right[1]
    axis = (left[0] + right[0]) / 2
    assert axis == (256 - 1) / 2 == nose[0] == np.mean([point[0] for point in mouth])
    assert left[1] < nose[1] < mouth[0][1]
    # Chin and crown of a head lie about 1.75 eye distances below and above the eyes.
    assert left[1] - 1.75 * (right[0] - left[0]) > 0 and left[1] + 1.75 * (right[0] - left[0]) < 255


# ---------------------------------------------------------------- splits


def stems(count):
    return [f"{number:06d}" for number in range(count)]


def test_one_in_seven_pictures_is_for_validation_whoever_is_on_it():
    split = random_split(stems(70_000), 0)
    assert Counter(split.values()) == {"validation": 10_000, "train": 60_000}
    # Neither the beginning nor the end of the list is favoured: a hypergeometric draw, five standard deviations.
    head = sum(split[stem] == "validation" for stem in stems(35_000))
    assert abs(head - 5000) < 5 * (35_000 * (1 / 7) * (6 / 7) / 2) ** 0.5


def test_a_split_depends_on_the_seed_and_the_names_alone():
    names = stems(100)
    assert random_split(names, 3) == random_split(names[::-1], 3) != random_split(names, 4)
    people = {stem: str(int(stem) % 9) for stem in names}
    backwards = dict(reversed(people.items()))
    assert identity_split(people, 3) == identity_split(backwards, 3) != identity_split(people, 4)


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_on_both_sides_of_the_identity_split(seed):
    rng = np.random.default_rng(seed)
    people = {stem: str(rng.integers(1, 200)) for stem in stems(4000)}
    split = identity_split(people, seed)
    sides = {side: {people[stem] for stem in people if split[stem] == side} for side in ("train", "validation")}
    assert not sides["train"] & sides["validation"] and sides["train"] and sides["validation"]
    largest = max(Counter(people.values()).values())
    assert 4000 / 7 <= Counter(split.values())["validation"] < 4000 / 7 + largest
    # The random split of the same pictures shares nearly everybody: the two lists are not the same thing.
    loose = random_split(list(people), seed)
    shared = {people[s] for s in people if loose[s] == "train"} & {people[s] for s in people if loose[s] != "train"}
    assert len(shared) > 150


def test_few_people_leave_somebody_on_each_side():
    assert Counter(identity_split({"a": "1", "b": "2"}, 0).values()) == {"train": 1, "validation": 1}
    with pytest.raises(MaskbenchError, match="1 people cannot be split"):
        identity_split({"a": "1", "b": "1"}, 0)


@pytest.mark.slow
def test_lists_of_the_real_length(tmp_path):
    count, people = 202_599, 10_177
    names = [f"{number:06d}" for number in range(1, count + 1)]
    put(tmp_path / "i.txt", "".join(f"{name}.jpg {index % people + 1}\n" for index, name in enumerate(names)))
    put(tmp_path / "l.txt", landmark_list(names))
    identities, points = read_identities(tmp_path / "i.txt"), read_landmarks(tmp_path / "l.txt")
    assert len(identities) == len(points) == count and len(set(identities.values())) == people
    assert Counter(random_split(names, 0).values())["validation"] == round(count / 7)
    split = identity_split(identities, 0)
    held = sum(side == "validation" for side in split.values())
    assert count / 7 <= held < count / 7 + 20
    assert not {identities[s] for s in names if split[s] == "train"} & {
        identities[s] for s in names if split[s] == "validation"
    }
