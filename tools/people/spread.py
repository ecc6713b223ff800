"""How well recognizers tell people apart, how much people differ, and who they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gather import Templates, similarity

from maskbench.errors import MaskbenchError
from maskbench.metrics import auc, fnmr_at_fmr
from maskbench.metrics.eer import eer

PAIRS = 2_000_000  # non-mated comparisons at most; more are thinned evenly
DRAWN = 100  # people among whom the nearest other one is looked for
# Individual typology angle, degrees: limits of Del Bino and Bernerd, British Journal of Dermatology 169, 2013.
ITA_CLASSES = (
    ("very light", 55.0), ("light", 41.0), ("intermediate", 28.0), ("tan", 10.0), ("brown", -30.0), ("dark", -np.inf),
)  # fmt: skip
AGES = (0, 13, 20, 30, 40, 50, 60, 70, 200)


def all_pairs(templates: Templates) -> tuple[np.ndarray, np.ndarray]:
    """Mated and non-mated scores of every picture against every other, each pair once.

    Raises:
        MaskbenchError: nobody has two pictures, or there is one person only.
    """
    order = np.argsort(templates.people, kind="stable")
    scores, people = similarity(templates.of(order), templates.of(order)), templates.people[order]
    mated, different = [], []
    for row in range(len(people) - 1):
        same = people[row + 1 :] == people[row]
        mated.append(scores[row, row + 1 :][same])
        different.append(scores[row, row + 1 :][~same])
    same, other = np.concatenate(mated or [[]]), np.concatenate(different or [[]])
    if not len(same) or not len(other):
        raise MaskbenchError("recognition needs two people at least, and one of them twice")
    return same, other[:: max(1, -(-len(other) // PAIRS))]


def recognition(templates: Templates) -> dict[str, Any]:
    """EER, FNMR at FMR 1 % and 0.1 %, and AUC over all pairs of pictures."""
    mated, different = all_pairs(templates)
    found = {"eer": eer(mated, different).value, "auc": auc(mated, different)}
    for name, target in (("fnmr_at_fmr_0.01", 0.01), ("fnmr_at_fmr_0.001", 0.001)):
        found[name] = fnmr_at_fmr(mated, different, target).fnmr
    return {
        **{name: None if value is None else round(float(value), 5) for name, value in found.items()},
        "mated": len(mated), "non_mated": len(different),
        "mated_mean": round(float(mated.mean()), 4), "non_mated_mean": round(float(different.mean()), 4),
        "pictures": len(templates.names), "without_template": templates.failed,
    }  # fmt: skip


def diversity(templates: Templates, pictures: int) -> dict[str, Any]:
    """Distances between people: of their first pictures, and of the means of ``pictures`` pictures each.

    A mean of few pictures scatters more, so the means are over equally many, of the people who have them. Distances
    are Euclidean, of templates as they are compared; with cosine on the unit sphere. "nearest" is the mean distance to
    the nearest other one among the first 100 people: that of many is smaller whatever the people.
    """
    rows = [np.flatnonzero(templates.people == person) for person in np.unique(templates.people)]
    first = templates.vectors[[part[0] for part in rows]]
    means = [templates.vectors[part[:pictures]].mean(0) for part in rows if len(part) >= pictures]
    return {
        "one_picture": _distances(first),
        "mean_template": _distances(np.array(means)) | {"pictures": pictures},
    }


def _distances(vectors: np.ndarray) -> dict[str, Any]:
    """Mean, spread and nearest of the Euclidean distances between the rows."""
    if len(vectors) < 2:
        return {"people": len(vectors), "mean": None, "p5": None, "nearest": None}
    from scipy.spatial.distance import pdist, squareform

    between = pdist(vectors)
    few = squareform(pdist(vectors[np.linspace(0, len(vectors) - 1, min(DRAWN, len(vectors))).astype(int)]))
    np.fill_diagonal(few, np.inf)
    return {
        "people": len(vectors), "mean": round(float(between.mean()), 5),
        "p5": round(float(np.quantile(between, 0.05)), 5), "nearest": round(float(few.min(1).mean()), 5),
        "nearest_among": len(few),
    }  # fmt: skip


def relative(found: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float | None]:
    """Ratios of the distances of two ``diversity`` tables, "one_picture.mean" and so on."""
    answer = {}
    for kind in ("one_picture", "mean_template"):
        for name in ("mean", "p5", "nearest"):
            one, other = found[kind][name], reference[kind][name]
            answer[f"{kind}.{name}"] = round(one / other, 4) if one and other else None
    return answer


def who(columns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Tables of people and of pictures, from the columns of people.csv.

    Args:
        columns: "identity", "sex", "age", "skin_ita" and so on, one value a picture; of what belongs to a person,
            the first picture's counts.
    """
    first = list({person: row for row, person in reversed(list(enumerate(columns["identity"])))}.values())

    def person(name: str) -> list[str]:
        return [columns[name][row] for row in first]

    ages, skin = np.array(person("age"), float), np.array(person("skin_ita"), float)
    bands = np.histogram(ages, AGES)[0]
    names = [f"{low}-{high - 1}" if high < AGES[-1] else f"{low}+" for low, high in zip(AGES, AGES[1:], strict=False)]
    yaw = np.abs(np.array(columns["yaw"], float))
    return {
        "people": len(first), "pictures": len(columns["identity"]),
        "sex": _counts(person("sex")), "age": dict(zip(names, bands.tolist(), strict=True)),
        "age_median": float(np.median(ages)), "skin": _counts([ita_class(value) for value in skin]),
        "skin_ita_quantiles": np.quantile(skin, (0.05, 0.5, 0.95)).round(1).tolist(),
        "hair": _counts(person("hair")), "hair_colour": _counts(person("hair_colour")),
        "expression": _counts(columns["expression"]), "background": _counts(columns["background"]),
        "yaw_beyond_15_30": [round(float((yaw >= limit).mean()), 4) for limit in (15, 30)],
    }  # fmt: skip


def ita_class(angle: float) -> str:
    """The class of skin that an individual typology angle in degrees falls into."""
    return next(name for name, low in ITA_CLASSES if angle > low or low == -np.inf)


def _counts(values: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
