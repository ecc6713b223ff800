"""The AR face database: its pictures are known by their file names, sorted by them, and never pasted over.

Source: Martinez and Benavente, "The AR Face Database", CVC Technical Report 24, 1998. A name is m-001-01 or w-001-26
(some copies write M-, F- or fewer digits): man or woman, number of the subject, and a code. Codes 1-13 are of the first
session, 14-26 the same in the second: 1 neutral, 2-4 expressions, 5-7 lights, 8-10 sunglasses, 11-13 a scarf.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskbench.datasets.folder import InputFile, is_image_name
from maskbench.errors import MaskbenchError

REFERENCE, CLEAN, AR1, AR2 = "reference", "clean", "AR1", "AR2"
CODES_PER_SESSION = 13
_KINDS = {1: REFERENCE, **dict.fromkeys(range(8, 11), AR1), **dict.fromkeys(range(11, 14), AR2)}
_NAME = re.compile(r"([mwf])-([0-9]{1,3})-([0-9]{1,2})", re.IGNORECASE)


@dataclass(frozen=True)
class ArPicture:
    """A picture of the AR database.

    Attributes:
        path: relative to the folder of the database.
        subject: "m-001" or "w-001"; m-001 and w-001 are two people.
        code: 1 to 26.
    """

    path: str
    subject: str
    code: int

    @property
    def session(self) -> int:
        """1, or 2 for the pictures taken two weeks later."""
        return 1 if self.code <= CODES_PER_SESSION else 2

    @property
    def kind(self) -> str:
        """REFERENCE (nothing worn, neutral: code 01 or 14), CLEAN (nothing worn), AR1 (sunglasses) or AR2 (a scarf)."""
        return _KINDS.get((self.code - 1) % CODES_PER_SESSION + 1, CLEAN)

    @property
    def name(self) -> str:
        """The canonical name, "m-001-01"."""
        return f"{self.subject}-{self.code:02d}"


def parse_name(path: str) -> ArPicture | None:
    """The picture of the AR database that a file name stands for, or None for another name. Any suffix will do."""
    match = _NAME.fullmatch(PurePosixPath(path).stem)
    if not match:
        return None
    sex, number, code = match[1].lower().replace("f", "w"), int(match[2]), int(match[3])
    return ArPicture(path, f"{sex}-{number:03d}", code) if 1 <= code <= 2 * CODES_PER_SESSION else None


def recognise(root: Path, files: Sequence[InputFile]) -> list[ArPicture]:
    """The pictures of the AR database among the files of a folder, sorted by name; none if this is another data set.

    Raises:
        MaskbenchError: the database's pictures lie among others, exist only as ``.raw`` files, or are there twice.
    """
    named = [picture for file in files if (picture := parse_name(file.path))]
    pictures = [picture for picture in named if is_image_name(picture.path)]
    raw = [picture for picture in named if picture.path.lower().endswith(".raw")]
    if raw and not pictures:
        raise MaskbenchError(
            f"{root / raw[0].path}: .raw files are not read; convert the AR database to PNG or BMP under the same names"
        )
    others = [file.path for file in files if file.is_image and not parse_name(file.path)]
    if pictures and others:
        raise MaskbenchError(
            f"{root}: {len(pictures)} pictures are named as the AR database's (first {pictures[0].path}) and "
            f"{len(others)} are not (first {others[0]}); keep the two apart, for AR's are never pasted over"
        )
    found: dict[str, ArPicture] = {}
    for picture in pictures:
        if picture.name in found:
            first = found[picture.name].path
            raise MaskbenchError(f"{root}: both {first} and {picture.path} are AR's {picture.name}; keep one")
        found[picture.name] = picture
    return [found[name] for name in sorted(found)]


def refuse_ar(root: Path, paths: Collection[str]) -> None:
    """Raise MaskbenchError if a path is named as a picture of the AR database.

    Its people wear real sunglasses and scarves; with a pasted mask on top nobody would know what was measured.
    """
    for path in sorted(paths):
        if is_image_name(path) and parse_name(path):
            raise MaskbenchError(
                f"{root / path}: named as a picture of the AR database, whose people wear real sunglasses and scarves; "
                "never pasted over: maskbench dataset build ar sorts it into lists"
            )


def references(pictures: Sequence[ArPicture]) -> dict[str, ArPicture]:
    """One clean reference for each subject: code 01; 14, the second session's, for a subject without 01.

    Subjects without either have none: none of their pictures is as neutral.
    """
    chosen: dict[str, ArPicture] = {}
    for picture in sorted(pictures, key=lambda picture: picture.code):
        if picture.kind == REFERENCE:
            chosen.setdefault(picture.subject, picture)
    return dict(sorted(chosen.items()))
