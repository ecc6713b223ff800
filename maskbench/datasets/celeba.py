"""CelebA in its original layout: its lists, its pictures, and how they are split for training.

Source: Liu, Luo, Wang and Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015: 202,599 pictures of 10,177
people with five landmarks each, as photographs (``img_celeba``) and as crops of 178x218 (``img_align_celeba``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbench.align import Template
from maskbench.datasets.folder import walk
from maskbench.digest import generator
from maskbench.errors import MaskbenchError
from maskbench.tables import read_text

IDENTITIES = "identity_CelebA.txt"
PARTITION = "list_eval_partition.txt"
WILD, ALIGNED = "wild", "aligned"
FOLDERS = {WILD: ("img_celeba",), ALIGNED: ("img_align_celeba", "img_align_celeba_png")}
LANDMARKS = {WILD: "list_landmarks_celeba.txt", ALIGNED: "list_landmarks_align_celeba.txt"}
SUBSETS = ("train", "validation", "test")  # the official partition's 0, 1 and 2
PARTS = 7  # of which one is for validation: 6:1

_POINTS = np.array([(103.5, 112.5), (151.5, 112.5), (127.5, 144.0), (107.5, 161.5), (147.5, 161.5)])
_POINTS.setflags(write=False)
# The whole head with hair and chin: 48 pixels between the eyes, which lie midway and a little above the middle.
CELEBA256 = Template("celeba256", _POINTS, (256, 256))


@dataclass(frozen=True)
class CelebaSource:
    """A copy of CelebA on disk.

    Attributes:
        pictures: the folder of pictures.
        kind: "wild" for the photographs, "aligned" for the crops of 178x218.
        files: the path below ``pictures`` of every picture that has an identity, by its stem ("000001"), sorted.
        others: what else lies in the folder: path to the status ("skipped" or "failed") and reason of its row.
        identities: the person on each picture of the identity list, by stem, also of pictures that are not there.
        points: (5, 2) float64 pixels by stem: eyes, nose, mouth corners; None where the list is absent.
        partition: CelebA's own subset by stem; None where the list is absent.
    """

    pictures: Path
    kind: str
    files: dict[str, str]
    others: dict[str, tuple[str, str]]
    identities: dict[str, str]
    points: dict[str, np.ndarray] | None
    partition: dict[str, str] | None

    @property
    def missing(self) -> list[str]:
        """The stems of the identity list without a picture."""
        return [stem for stem in self.identities if stem not in self.files]


# ---------------------------------------------------------------- what lies where


def open_celeba(source: Path, pictures: str = "auto") -> CelebaSource:
    """Find and read CelebA. Its lists and folders lie in ``source`` or one level below (``Anno``, ``Eval``, ``Img``).

    Args:
        pictures: "wild", "aligned", or "auto": the photographs where they and their landmarks are there, since they
            have more pixels than the crops, else the crops.

    Raises:
        MaskbenchError: pictures or a list that is needed are missing, a list is malformed ("FILE:LINE: ..."), or two
            files are one picture.
    """
    source = Path(source)
    kind, folder = _choose(source, pictures)
    listed, partition = _find(source, LANDMARKS[kind]), _find(source, PARTITION)
    identities = read_identities(_need(source, IDENTITIES, "which says who is on which picture"))
    files, others = _pictures(folder, identities)
    if not files:
        raise MaskbenchError(f"{folder}: holds no picture that {IDENTITIES} names; give CelebA with its own file names")
    return CelebaSource(
        folder, kind, files, others, identities,
        read_landmarks(listed) if listed else None, read_partition(partition) if partition else None,
    )  # fmt: skip


def _choose(source: Path, pictures: str) -> tuple[str, Path]:
    if pictures not in ("auto", WILD, ALIGNED):
        raise MaskbenchError(f'no pictures "{pictures}" in CelebA; known: aligned, auto, wild')
    found = {kind: _picture_folder(source, kind) for kind in FOLDERS}
    listed = _find(source, LANDMARKS[WILD])
    if pictures != ALIGNED and found[WILD] and listed:
        return WILD, found[WILD]
    if pictures != WILD and found[ALIGNED]:
        return ALIGNED, found[ALIGNED]
    if pictures != ALIGNED and found[WILD]:
        # No detector may choose here: photographs show several people, and the identity is that of one of them.
        raise MaskbenchError(
            f"{source}: has no {LANDMARKS[WILD]}, without which nobody knows whose face counts on a photograph; "
            "add it, or img_align_celeba"
        )
    wanted = " or ".join(FOLDERS[kind][0] for kind in FOLDERS if pictures in ("auto", kind))
    raise MaskbenchError(f"{source}: no folder {wanted} in it or one level below; give CelebA's own layout")


def _places(source: Path) -> list[Path]:
    """The folder itself and those right below it."""
    try:
        return [source, *sorted(path for path in source.iterdir() if path.is_dir())]
    except OSError as error:
        raise MaskbenchError(f"{source}: not a folder that can be read ({error.strerror}); check the path") from error


def _find(source: Path, name: str) -> Path | None:
    return next((place / name for place in _places(source) if (place / name).is_file()), None)


def _need(source: Path, name: str, why: str) -> Path:
    path = _find(source, name)
    if path is None:
        raise MaskbenchError(f"{source}: no {name} in it or one level below, {why}; add CelebA's own list")
    return path


def _picture_folder(source: Path, kind: str) -> Path | None:
    for name in FOLDERS[kind]:
        for place in _places(source):
            if (place / name).is_dir():
                inner = place / name / name  # some archives unpack to a folder in a folder of the same name
                return inner if inner.is_dir() else place / name
    return None


def _pictures(
    folder: Path, identities: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    files: dict[str, str] = {}
    others: dict[str, tuple[str, str]] = {}
    for file in walk(folder):
        stem = file.path.rpartition(".")[0]
        if not file.is_image:
            others[file.path] = file.status, file.note or "not an image file name"
        elif stem not in identities:
            others[file.path] = "skipped", f"not in {IDENTITIES}"
        elif stem in files:
            raise MaskbenchError(f"{folder}: both {files[stem]} and {file.path} are picture {stem}; keep one")
        else:
            files[stem] = file.path
    return dict(sorted(files.items())), others


# ---------------------------------------------------------------- lists


def read_identities(path: Path) -> dict[str, str]:
    """Read ``identity_CelebA.txt``: stem to identity number, in file order. A line is "000001.jpg 2880".

    Raises:
        MaskbenchError: "FILE:LINE: ..." for a line that is not of this form or a picture named twice.
    """
    return {stem: value for stem, value, _ in _pairs(path, r"[0-9]{1,9}", "a picture and an identity number")}


def read_partition(path: Path) -> dict[str, str]:
    """Read ``list_eval_partition.txt``: stem to "train", "validation" or "test". A line is "000001.jpg 0".

    Raises:
        MaskbenchError: as ``read_identities``.
    """
    rows = _pairs(path, r"[012]", "a picture and 0, 1 or 2")
    return {stem: SUBSETS[int(value)] for stem, value, _ in rows}


def _pairs(path: Path, pattern: str, wanted: str) -> Iterator[tuple[str, str, int]]:
    lines: dict[str, int] = {}
    for number, fields in _lines(read_text(path)):
        if len(fields) != 2 or not re.fullmatch(pattern, fields[1]):
            raise MaskbenchError(f"{path}:{number}: expected {wanted}, such as '000001.jpg 2'; fetch the list again")
        yield _once(fields[0], number, lines, path), fields[1], number
    if not lines:
        raise MaskbenchError(f"{path}:1: the list is empty; fetch it again")


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Read ``list_landmarks_celeba.txt`` or ``list_landmarks_align_celeba.txt``: stem to (5, 2) float64 pixels.

    The first line is the number of pictures, the second names the columns; each further one is a file name and ten
    numbers: left eye, right eye, nose, left and right mouth corner as seen in the picture, x before y.

    Raises:
        MaskbenchError: as ``read_identities``, and if the count is wrong.
    """
    lines: dict[str, int] = {}
    rows = list(_lines(read_text(path)))
    if not rows or len(rows[0][1]) != 1 or not rows[0][1][0].isdecimal():
        raise MaskbenchError(f"{path}:1: expected the number of pictures; fetch the list again")
    found, promised = max(0, len(rows) - 2), int(rows[0][1][0])
    if found != promised:
        raise MaskbenchError(f"{path}:1: promises {promised} pictures, the file has {found}; fetch the list again")
    return {_once(fields[0], line, lines, path): _points(fields, f"{path}:{line}") for line, fields in rows[2:]}


def _points(fields: Sequence[str], where: str) -> np.ndarray:
    try:
        points = np.array([float(value) for value in fields[1:]]).reshape(5, 2)
    except ValueError:
        points = np.array([np.nan])
    if not np.isfinite(points).all():
        raise MaskbenchError(f"{where}: expected a file name and ten numbers; fetch the list again")
    return points


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of every line that has any, with its number."""
    return ((number, fields) for number, line in enumerate(text.split("\n"), 1) if (fields := line.split()))


def _once(name: str, number: int, lines: dict[str, int], path: Path) -> str:
    stem = name.rpartition(".")[0] or name
    if lines.setdefault(stem, number) != number:
        raise MaskbenchError(f"{path}:{number}: {name} is already on line {lines[stem]}; fetch the list again")
    return stem


# ---------------------------------------------------------------- splits


def random_split(stems: Sequence[str], seed: int) -> dict[str, str]:
    """Six parts for training, one for validation, by picture: people of the one are also in the other.

    The validation part is ``len(stems) / 7`` rounded, drawn without replacement; it depends on ``seed`` and the stems.
    """
    ordered = sorted(stems)
    order = generator(seed, "random split").permutation(len(ordered))
    chosen = set(order[: round(len(ordered) / PARTS)].tolist())
    return {stem: SUBSETS[index in chosen] for index, stem in enumerate(ordered)}


def identity_split(identities: Mapping[str, str], seed: int) -> dict[str, str]:
    """Six parts for training, one for validation, by person: nobody is in both.

    Whole people are drawn for validation until it holds a seventh of the pictures, so it may hold a few more than that.

    Args:
        identities: the person on each picture, by stem.

    Raises:
        MaskbenchError: fewer than two people.
    """
    sizes = Counter(identities.values())
    people = sorted(sizes)
    if len(people) < 2:
        raise MaskbenchError(f"{len(people)} people cannot be split by identity; give pictures of at least two")
    chosen: set[str] = set()
    held, wanted = 0, len(identities) / PARTS
    for index in generator(seed, "identity split").permutation(len(people)).tolist():
        if held >= wanted or len(chosen) == len(people) - 1:
            break
        chosen.add(people[index])
        held += sizes[people[index]]
    return {stem: SUBSETS[identity in chosen] for stem, identity in sorted(identities.items())}
