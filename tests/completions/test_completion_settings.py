"""Options: unknown keys, types and ranges."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields

import pytest

from maskbench.completions.base import COMPLETIONS, load_completion
from maskbench.completions.graph_laplace import GraphLaplaceSettings
from maskbench.completions.inpaint import InpaintSettings
from maskbench.completions.mean_face import MeanFaceSettings
from maskbench.completions.rpca import RpcaSettings
from maskbench.completions.settings import as_mapping, choice, make_settings, number, whole
from maskbench.errors import MaskbenchError


@dataclass(frozen=True)
class Options:
    count: int = whole(3, 1, 9)
    share: float = number(0.5, 0.0, 1.0)
    way: str = choice("up", "down")
    turned: bool = choice(True, False)


def test_defaults_and_values():
    assert make_settings(Options, "m", {}) == Options(3, 0.5, "up", True)
    made = make_settings(Options, "m", {"count": 9, "share": 1, "way": "down", "turned": False})
    assert as_mapping(made) == {"count": 9, "share": 1.0, "way": "down", "turned": False}
    assert type(made.share) is float  # so that 1 and 1.0 have one digest
    with pytest.raises(FrozenInstanceError):
        made.count = 1


@pytest.mark.parametrize(
    "values, message",
    [
        ({"cuont": 3}, 'completion "m" has no setting "cuont"; did you mean "count"'),
        ({"count": 0}, "count must be a whole number from 1 to 9, not 0"),
        ({"count": 10}, "count must be"),
        ({"count": 3.0}, "count must be"),
        ({"count": True}, "count must be"),
        ({"count": "3"}, "count must be a whole number from 1 to 9, not '3'"),
        ({"share": float("nan")}, "share must be a number from 0.0 to 1.0, not nan"),
        ({"share": 1.01}, "share must be"),
        ({"share": None}, "share must be"),
        ({"way": "left"}, "way must be one of up, down, not 'left'"),
        ({"turned": 1}, "turned must be one of True, False, not 1"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(MaskbenchError, match=message) as caught:
        make_settings(Options, "m", values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, kind",
    [("graph-laplace", GraphLaplaceSettings), ("rpca", RpcaSettings), ("mean-face", MeanFaceSettings),
     ("telea", InpaintSettings), ("navier-stokes", InpaintSettings)],
)  # fmt: skip
def test_every_option_reaches_the_specification_and_the_digest(name, kind):
    plain = load_completion(name)
    assert dict(plain.spec.settings) == as_mapping(kind())
    for item in fields(kind):
        if "choices" in item.metadata:
            value = item.metadata["choices"][1]
        else:
            value = item.metadata["range"][1]
        changed = load_completion(name, **{item.name: value})
        assert changed.spec.settings[item.name] == value and changed.digest != plain.digest
    assert name in COMPLETIONS.names(ready=True)
