"""What every method promises, whatever it does."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from maskbench.completions.base import checked_complete, load_completion
from maskbench.completions.builtin import BUILTIN

METHODS = [name for name in sorted(BUILTIN) if name != "none"]
FITTED = ["graph-laplace", "mean-face", "rpca"]
SMALL = {"rpca": {"exemplars": 20}, "graph-laplace": {"exemplars": 12}}


@pytest.fixture(scope="module")
def fitted(training):
    """Every method, fitted."""
    return {name: load_completion(name, **SMALL.get(name, {})).fit(training) for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_known_bytes_stay_and_the_hole_changes(name, fitted, probes):
    faces, masks, originals = probes
    result = fitted[name].complete(faces, masks)  # not the checked one: the method itself keeps the promise
    assert (result[masks == 0] == faces[masks == 0]).all()
    assert (result[3] == faces[3]).all()
    for number in range(3):
        hole = masks[number] == 1
        error = np.abs(result[number][hole].astype(int) - originals[number][hole]).mean()
        assert error < np.abs(faces[number][hole].astype(int) - originals[number][hole]).mean() / 2


@pytest.mark.parametrize("name", FITTED)
def test_training_faces_help(name, fitted, probes):
    """On faces of few degrees of freedom whoever knows them beats whoever does not."""
    faces, masks, originals = probes

    def error(which):
        result = fitted[which].complete(faces[:1], masks[:1])
        return np.abs(result[0].astype(int) - originals[0])[masks[0] == 1].mean()

    assert error(name) < min(error("telea"), error("navier-stokes"))


@pytest.mark.parametrize("name", METHODS)
def test_the_same_bytes_for_any_batch_and_thread_count(name, fitted, probes):
    faces, masks, _ = probes
    want = fitted[name].complete(faces, masks)
    order = [2, 0, 3, 1]
    assert (fitted[name].complete(faces[order], masks[order]) == want[order]).all()
    for number in range(4):
        alone = slice(number, number + 1)
        assert (fitted[name].complete(faces[alone], masks[alone]) == want[alone]).all()
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            with threadpool_limits(threads):
                assert (fitted[name].complete(faces, masks) == want).all()
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("name", FITTED)
def test_fitting_is_repeatable_for_any_thread_count(name, training, probes):
    results, digests = [], set()
    for threads in (1, 2):
        with threadpool_limits(threads):
            completion = load_completion(name, **SMALL.get(name, {})).fit(training)
            results.append(completion.complete(*probes[:2]))
            digests.add(completion.digest)
    assert (results[0] == results[1]).all() and len(digests) == 1


@pytest.mark.parametrize("name", METHODS)
def test_what_the_mask_hides_changes_nothing(name, fitted, probes):
    faces, masks, originals = probes
    assert (fitted[name].complete(faces, masks) == fitted[name].complete(originals, masks)).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_guard_hides_the_rim_too(name, training, probes):
    faces, masks, _ = probes
    completion = load_completion(name, guard=2, **SMALL.get(name, {})).fit(training)
    smeared = faces.copy()
    rim = (cv2.dilate(masks[0], np.ones((5, 5), np.uint8)) == 1) & (masks[0] == 0)
    smeared[0][rim] = (0, 255, 0)
    hole = masks[0] == 1
    want, got = completion.complete(faces[:1], masks[:1])[0], completion.complete(smeared[:1], masks[:1])[0]
    assert (want[hole] == got[hole]).all() and (got[rim] == (0, 255, 0)).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_wholly_masked_face(name, fitted, training, probes):
    faces, _, _ = probes
    result = fitted[name].complete(faces[:1], np.ones((1, 128, 128), np.uint8))[0]
    if name in FITTED:
        want = training.astype(np.float64).mean(axis=0)
        assert np.abs(result - want).max() <= 0.5 + 1e-9
    else:
        assert (result == 128).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("case", ["one known pixel", "one hidden pixel", "one known column"])
def test_extreme_masks(name, case, fitted, probes):
    masks = np.ones((1, 128, 128), np.uint8)
    if case == "one known pixel":
        masks[0, 64, 64] = 0
    elif case == "one hidden pixel":
        masks[:] = 0
        masks[0, 64, 64] = 1
    else:
        masks[0, :, 0] = 0
    faces = probes[2][:1]
    result = fitted[name].complete(faces, masks)
    assert (result[masks == 0] == faces[masks == 0]).all()
    if case == "one hidden pixel":
        assert np.abs(result.astype(int) - faces)[0, 64, 64].max() < 40


@pytest.mark.parametrize("name", METHODS)
def test_grey_stays_grey(name, fitted, probes):
    faces, masks, originals = probes
    grey = np.repeat(originals[..., 1:2], 3, axis=3)
    grey[masks == 1] = (200, 30, 90)  # a coloured mask on a grey picture
    result = fitted[name].complete(grey, masks)
    assert (result == result[..., :1]).all()
    coloured = grey.copy()
    coloured[0, 0, 0] = (9, 10, 9)
    again = fitted[name].complete(coloured, masks)[0][masks[0] == 1]
    if name in FITTED:
        assert not (again == again[..., :1]).all()  # the rule looks at all known pixels


@pytest.mark.parametrize("name", METHODS)
def test_inputs_are_not_written_to(name, fitted, probes, training):
    faces, masks = probes[0].copy(), probes[1].copy()
    result = checked_complete(fitted[name], faces, masks)
    assert (faces == probes[0]).all() and (masks == probes[1]).all() and not np.shares_memory(result, faces)
    fitted[name].complete(np.asfortranarray(faces), masks[:, :, :])  # any memory layout will do
    assert (result == fitted[name].complete(np.asfortranarray(faces), np.asfortranarray(masks))).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_fitted_completion_can_be_sent_to_a_worker(name, fitted, probes):
    sent = pickle.loads(pickle.dumps(fitted[name]))
    assert sent.digest == fitted[name].digest
    assert (sent.complete(*probes[:2]) == fitted[name].complete(*probes[:2])).all()


def test_none_is_the_identity(probes):
    completion = load_completion("none")
    faces, masks, _ = probes
    result = completion.fit(faces).complete(faces, np.ones_like(masks))
    assert (result == faces).all() and not np.shares_memory(result, faces)
