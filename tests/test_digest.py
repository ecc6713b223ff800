from __future__ import annotations

import hashlib

import numpy as np

from maskbench.digest import array_sha256, config_sha256, file_sha256, generator


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"maskbench" * 100_000)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"maskbench" * 100_000).hexdigest()


def test_array_digest_sees_dtype_shape_and_values_but_not_memory_order():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert array_sha256(a) == array_sha256(np.asfortranarray(a)) == array_sha256(a.copy())
    others = [a.astype(np.float64), a.reshape(3, 2), a + 1]
    assert len({array_sha256(x) for x in [a, *others]}) == 4


def test_config_digest_ignores_key_order():
    assert config_sha256({"a": 1, "b": [2]}) == config_sha256({"b": [2], "a": 1}) != config_sha256({"a": 1, "b": [3]})


def test_generators_depend_on_every_part_and_on_nothing_else():
    draws = {
        generator(seed, *parts).integers(2**62)
        for seed, parts in [(0, ("a",)), (1, ("a",)), (0, ("b",)), (0, ("a", "b")), (0, ("ab",)), (0, ("a\udc80",))]
    }
    assert len(draws) == 6
    generator(5, "other").integers(9)
    assert generator(0, "a").integers(2**62) == generator(0, "a").integers(2**62)
