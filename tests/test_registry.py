from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from maskbench import registry as module
from maskbench.errors import MaskbenchError
from maskbench.registry import Registry, nearest


def test_names_load_nothing_and_get_loads_once():
    sys.modules.pop("colorsys", None)
    table: Registry = Registry("thing", builtin={"hls": "colorsys:rgb_to_hls"})
    assert table.names() == ["hls"] and "colorsys" not in sys.modules
    import colorsys

    assert table.get("hls") is colorsys.rgb_to_hls is table.get("hls")


def test_collisions_raise_and_repeats_do_not():
    table: Registry = Registry("thing", builtin={"a": "x:y"})
    table.register("a", "x:y")
    with pytest.raises(MaskbenchError, match='thing "a" is already registered'):
        table.register("a", "x:z")


def test_a_miss_suggests_the_nearest_name():
    table: Registry = Registry("mask", builtin={"surgical": "a:b", "cloth": "a:b"})
    with pytest.raises(MaskbenchError, match='no mask named "surgicl"; did you mean "surgical"'):
        table.get("surgicl")
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
    assert nearest("zzz", []) == "known: none"


def test_entry_points_join_and_may_not_take_a_name(monkeypatch: pytest.MonkeyPatch):
    points = [EntryPoint("extra", "colorsys:rgb_to_hsv", "g")]
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == "g" else [])
    table: Registry = Registry("thing", "g", {"own": "colorsys:rgb_to_hls"})
    assert table.names() == ["extra", "own"]
    points[0] = EntryPoint("own", "colorsys:rgb_to_hsv", "g")
    with pytest.raises(MaskbenchError, match="already registered"):
        Registry("thing", "g", {"own": "colorsys:rgb_to_hls"}).names()
