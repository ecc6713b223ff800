"""Labeled Faces in the Wild: its pair list, its file names and its download.

Source: Huang, Ramesh, Berg and Learned-Miller, "Labeled Faces in the Wild: A Database for Studying Face Recognition
in Unconstrained Environments", University of Massachusetts Amherst, Technical Report 07-49, 2007.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from maskbench import files
from maskbench.datasets.folder import is_image_name, walk
from maskbench.errors import MaskbenchError, ProtocolError
from maskbench.tables import read_text

IMAGES, PEOPLE = 13_233, 5_749  # in the whole data set
_STEM = re.compile(r"(?P<name>.+)_\d{4,}")


@dataclass(frozen=True)
class LfwPair:
    """One line of a pair list.

    Attributes:
        fold: 1, 2, ...
        index: 1, 2, ... among the mated, or among the non-mated, pairs of the fold.
        reference: (name, image number) of the first image.
        probe: (name, image number) of the second image.
        line: line number in the file, for messages.
    """

    fold: int
    index: int
    mated: bool
    reference: tuple[str, int]
    probe: tuple[str, int]
    line: int


def image_name(name: str, number: int) -> str:
    """The stem of an image: ``image_name("Ana_Diaz", 3) == "Ana_Diaz_0003"``."""
    return f"{name}_{number:04d}"


def read_pairs(path: Path) -> list[LfwPair]:
    """Read a pair list in the form of LFW's ``pairs.txt``: UTF-8, columns separated by tabs.

    The first line gives the number of folds and the pairs per class and fold; a single count, as in
    ``pairsDevTest.txt``, means one fold. Each fold then lists that many mated pairs (name, number, number) and as
    many non-mated ones (name, number, name, number).

    Raises:
        ProtocolError: the file cannot be read, or a line is not what the header promises; "FILE:LINE: ...".
    """
    lines = [line.removesuffix("\r") for line in read_text(Path(path), ProtocolError).rstrip().split("\n")]
    folds, per_class = _header(lines[0], f"{path}:1")
    expected = 1 + 2 * folds * per_class
    if len(lines) != expected:
        raise ProtocolError(
            f"{path}:{min(len(lines), expected) + (len(lines) > expected)}: the header promises "
            f"{expected - 1} pairs ({folds} x 2 x {per_class}), the file has {len(lines) - 1} lines of pairs"
        )
    return [_pair(line, number, per_class, f"{path}:{number + 2}") for number, line in enumerate(lines[1:])]


def _header(line: str, where: str) -> tuple[int, int]:
    numbers = [_number(field, where) for field in line.split("\t")]
    if len(numbers) > 2:
        raise ProtocolError(f'{where}: expected "folds<TAB>pairs per class" or one count, found {len(numbers)} columns')
    return (1, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _number(field: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", field) or int(field) == 0:
        raise ProtocolError(f"{where}: expected a whole number from 1, found {field!r}; columns are separated by tabs")
    return int(field)


def _pair(line: str, position: int, per_class: int, where: str) -> LfwPair:
    fold, within = divmod(position, 2 * per_class)
    mated = within < per_class
    fields = line.split("\t")
    if len(fields) != (3 if mated else 4):
        wanted = "mated (name, number, number)" if mated else "non-mated (name, number, name, number)"
        raise ProtocolError(f"{where}: expected a {wanted} pair, tab separated, found {len(fields)} columns")
    other = fields[0] if mated else fields[2]
    reference, probe = (fields[0], _number(fields[1], where)), (other, _number(fields[-1], where))
    if not all(name.strip() and "/" not in name and "\\" not in name for name, _ in (reference, probe)):
        raise ProtocolError(f"{where}: a name is empty or has a slash")
    if not mated and reference[0] == probe[0]:
        raise ProtocolError(f"{where}: a non-mated pair names {other!r} twice")
    if reference == probe:
        raise ProtocolError(f"{where}: a mated pair compares image {probe[1]} of {other!r} with itself")
    return LfwPair(fold + 1, within % per_class + 1, mated, reference, probe, position + 2)


def find_faces(root: Path) -> dict[str, str]:
    """Map each image stem, ``Name_0001``, to its path below ``root``, ``Name/Name_0001.jpg``.

    Any image extension in any case of letters is taken; other files are passed over.

    Raises:
        ProtocolError: two files have one stem, so that the pair list does not say which is meant.
        MaskbenchError: ``root`` cannot be read.
    """
    faces: dict[str, str] = {}
    for file in walk(root):
        folder, _, name = file.path.rpartition("/")
        stem = name.rpartition(".")[0]
        match = _STEM.fullmatch(stem)
        if not is_image_name(name) or match is None or match["name"] != folder:
            continue
        if stem in faces:
            raise ProtocolError(f"{root}: both {faces[stem]} and {file.path} are image {stem}; keep one")
        faces[stem] = file.path
    return faces


def find_pairs(faces: Path) -> Path | None:
    """The pair list that belongs to a folder of faces, or None.

    Looked for as ``FACES/pairs.txt``, beside ``FACES``, and as ``$MASKBENCH_DATA/protocols/lfw_pairs.txt``.
    """
    data = files.data_root()
    candidates = [faces / "pairs.txt", faces.parent / "pairs.txt"]
    candidates += [data / "protocols" / "lfw_pairs.txt"] if data else []
    return next((path for path in candidates if path.is_file()), None)


def fetch_lfw() -> tuple[Path, Path]:
    """Download LFW (funneled, about 200 MB) through scikit-learn, which checks its SHA-256, unless it is there.

    The files lie in scikit-learn's data folder: ``SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``.

    Returns:
        The folder of faces and the path of ``pairs.txt``.

    Raises:
        MaskbenchError: the download failed, or the folder is incomplete.
    """
    from sklearn.datasets import fetch_lfw_pairs, get_data_home

    try:
        home = Path(get_data_home()) / "lfw_home"
        # A slice of one pixel: the arrays are not wanted, the check that every pair's image opens is.
        fetch_lfw_pairs(
            subset="10_folds", funneled=True, resize=None, color=True, slice_=(slice(0, 1), slice(0, 1)), n_retries=1
        )
    except Exception as error:  # the fetcher passes on whatever network, archive and image code raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MaskbenchError(
            f"LFW could not be fetched by scikit-learn ({reason}); give --faces FOLDER with your own copy, set "
            "MASKBENCH_DATA, or remove a partial lfw_home folder and try again"
        ) from error
    return home / "lfw_funneled", home / "pairs.txt"
