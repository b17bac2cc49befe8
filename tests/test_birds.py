"""The drawn birds: what is drawn, whether the masks tell the truth, and whether the bytes are the same everywhere."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from torch.utils.data import default_collate

from contrastlib.data import birds
from contrastlib.data.birds.shapes import Draws, Placement, cover, disc, stroke
from contrastlib.names import UnknownNameError

FINGERPRINT = "ecb07b39cca0f15c09bcecf97ed4b58b18ebb8fbcb84334e0ad3ea1f0d73167f"  # of 32 pictures, half of them hard
SAME_GENUS = [(a, b) for a, b in combinations(range(16), 2) if birds.SPECIES[a].genus == birds.SPECIES[b].genus]


def grown(mask):
    """A mask with its border of one pixel, which soft edges reach into."""
    padded = np.pad(mask, 1)
    around = [padded[1 + dy:padded.shape[0] - 1 + dy, 1 + dx:padded.shape[1] - 1 + dx] for dy in (-1, 0, 1)
              for dx in (-1, 0, 1)]
    return np.any(around, axis=0)


# --- the same bytes


def test_the_pictures_are_the_same_as_ever():
    assert birds.fingerprint() == FINGERPRINT


def test_the_pictures_are_the_same_on_a_processor_without_vector_instructions():
    """numpy picks its loops by what the processor can do; here it is told that it can do nothing."""
    simple = "AVX512_ICL AVX512_CNL AVX512_CLX AVX512_SKX AVX512F AVX512CD AVX2 FMA3 X86_V4 X86_V3 AVX512_SPR"
    script = "from contrastlib.data import birds; print(birds.fingerprint())"
    without = {**os.environ, "NPY_DISABLE_CPU_FEATURES": simple}
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", script], env=without, capture_output=True, text=True,
                         check=True)
    assert ran.stdout.strip() == FINGERPRINT


def test_draws_come_from_the_key_alone():
    first, again, other = Draws(1, 2), Draws(1, 2), Draws(2, 1)
    values = [first.uniform() for _ in range(5)]
    assert values == [again.uniform() for _ in range(5)]
    assert values != [other.uniform() for _ in range(5)]
    assert len(set(values)) == 5
    assert 0.4 < Draws(3).array(10, 100).mean() < 0.6
    assert set(np.unique(Draws(4).bytes(50, 100))) == set(range(256))


# --- species


def test_there_are_at_least_twelve_species_and_no_name_stands_twice():
    assert len(birds.SPECIES) >= 12
    assert len(set(birds.NAMES)) == len(birds.SPECIES)


@pytest.mark.parametrize("label", range(16))
def test_every_species_has_one_that_differs_in_exactly_one_part(label):
    assert any(len(birds.telling_parts(label, other)) == 1 for other in range(16))


def test_there_are_triples_that_differ_in_one_part_each_from_each():
    triples = [three for three in combinations(range(16), 3)
               if len({birds.telling_parts(a, b) for a, b in combinations(three, 2)}) == 1
               and len(birds.telling_parts(*three[:2])) == 1]
    assert len(triples) >= 4


def test_telling_parts_are_named_symmetric_and_none_for_oneself():
    assert birds.telling_parts(0, 3) == birds.telling_parts(3, 0) == ("wing bar",)
    assert birds.telling_parts(1, 3) == ("wing bar", "crest")
    assert birds.telling_parts(5, 5) == ()
    assert {"body", "head", "wing"} < set(birds.telling_parts(0, 12))
    assert all(set(birds.telling_parts(a, b)) <= set(birds.PARTS) for a, b in combinations(range(16), 2))


# --- pictures and masks


def bare(scene):
    """The scene without the leaves that hide things."""
    return replace(scene, leaves=())


@pytest.mark.parametrize(("a", "b"), SAME_GENUS)
def test_only_the_telling_parts_change(a, b):
    """Pixels differ only where one of the two birds has a telling part, hidden or not, and at its soft edge."""
    seen = 0
    for i in range(6):
        scene = birds.compose((70, i), a, hard=i > 3)
        drawings = birds.draw(bare(scene)), birds.draw(bare(scene).with_species(b))
        parts = grown(np.any([d.mask(part) for d in drawings for part in birds.telling_parts(a, b)], axis=0))
        changed = birds.telling_pixels(scene, b)
        assert not (changed & ~grown(parts)).any()
        assert (changed & ~parts).sum() <= 2
        seen += changed.sum()
    assert seen > 100


def test_a_leaf_over_the_telling_part_hides_the_evidence():
    scene = bare(birds.compose((71, 0), 4))
    mask = birds.telling_pixels(scene, 5)
    y, x = (float(v.mean()) / 128 for v in np.nonzero(mask))
    assert mask.sum() > 30
    assert not birds.telling_pixels(replace(scene, leaves=(birds.Leaf(x, y, 0.6, 0.0, 1.0),)), 5).any()


def test_masks_of_parts_do_not_overlap_and_make_up_the_bird():
    drawing = birds.draw(birds.compose((72, 1), 6))
    total = np.sum([mask.astype(int) for mask in drawing.masks.values()], axis=0)
    assert total.max() == 1
    assert ((total == 1) == drawing.bird()).all()
    assert drawing.bird().mean() > 0.05
    assert not drawing.mask("crest").any()  # a ringeye has none
    assert drawing.mask("eye ring").sum() > 10


def test_codes_are_those_of_the_masks():
    drawing = birds.draw(next(scene for scene in (birds.compose((72, i), 5, hard=True) for i in range(9))
                              if len(scene.birds) == 2))
    assert drawing.parts.dtype == np.uint8
    assert drawing.parts.shape == (128, 128)
    assert ((drawing.parts == 0) == ~(drawing.bird(0) | drawing.bird(1))).all()
    for part in birds.PARTS:
        for bird in (0, 1):
            assert ((drawing.parts == birds.CODES[part] + bird * birds.SECOND) == drawing.mask(part, bird)).all()
    assert {part for part in birds.PARTS if drawing.mask(part).any()} >= {"head", "belly", "eye ring"}


def test_codes_stay_the_same():
    """Others may have stored them."""
    assert birds.CODES == {"body": 1, "head": 2, "wing": 3, "tail": 4, "belly": 5, "throat": 6, "wing bar": 7,
                           "crest": 8, "beak": 9, "eye ring": 10, "eye": 11, "legs": 12}
    assert birds.SECOND == 32


def test_a_trait_that_is_missing_has_no_pixels_though_it_tells():
    """A plain tuftling has no crest: for the foil that has one, the evidence lies where the crest would be."""
    scene = bare(birds.compose((78, 0), 0))
    assert birds.telling_parts(0, 1) == ("crest",)
    assert not (birds.draw(scene).parts == birds.CODES["crest"]).any()
    evidence = birds.telling_pixels(scene, 1)
    assert evidence.sum() > 30
    assert (birds.draw(scene.with_species(1)).parts[evidence] == birds.CODES["crest"]).mean() > 0.8


def test_a_part_is_where_its_colour_is():
    scene = birds.compose((73, 0), 13)
    drawing = birds.draw(scene)
    throat = drawing.image[drawing.mask("throat")].astype(float).mean(axis=0)
    assert throat[0] > 2 * throat[1]  # ruby
    assert throat[0] > 1.5 * throat[2]


def test_two_birds_are_of_two_species_and_the_one_in_front_is_larger():
    scenes = [birds.compose((74, i), i % 16, hard=True) for i in range(60)]
    pairs = [scene for scene in scenes if len(scene.birds) == 2]
    assert 20 < len(pairs) < 60
    for scene in pairs[:10]:
        first, second = scene.birds
        assert first.label != second.label
        assert first.scale > second.scale
        drawing = birds.draw(scene)
        assert drawing.bird(1).any()
        assert not (drawing.bird(0) & drawing.bird(1)).any()
        assert birds.telling_pixels(scene, (second.label + 1) % 16, bird=1).any()


def test_the_label_is_the_bird_in_front():
    scene = birds.compose((75, 3), 9, hard=True)
    assert scene.label == scene.birds[0].label == 9
    assert scene.with_species(2).label == 2
    assert scene.with_species(2).birds[0].posture == scene.birds[0].posture


def test_scenes_vary_in_all_that_should_not_matter():
    scenes = [birds.compose((76, i), 0) for i in range(200)]
    first = [scene.birds[0] for scene in scenes]
    assert {scene.background for scene in scenes} == set(birds.BACKGROUNDS)
    assert {bird.mirrored for bird in first} == {True, False}
    for values, spread in (([b.x for b in first], 0.1), ([b.scale for b in first], 0.1), ([b.lean for b in first], 0.2),
                           ([b.posture.nod for b in first], 0.2), ([b.tint[0] for b in first], 0.15),
                           ([s.light[0] for s in scenes], 0.25), ([len(s.leaves) for s in scenes], 1)):
        assert max(values) - min(values) > spread


def test_a_picture_can_be_drawn_at_any_size():
    scene = birds.compose((77, 0), 1)
    small, large = birds.draw(scene), birds.draw(scene, 256)
    assert (small.image.shape, large.image.shape) == ((128, 128, 3), (256, 256, 3))
    shrunk = large.mask("crest").reshape(128, 2, 128, 2).mean(axis=(1, 3)) > 0.5
    both = (shrunk & small.mask("crest")).sum()
    assert both / (shrunk | small.mask("crest")).sum() > 0.75


# --- outlines to pixels


def test_a_square_covers_what_it_should():
    square = np.array([(1.0, 1.0), (3.5, 1.0), (3.5, 2.5), (1.0, 2.5)])
    form = cover([square], 8)
    assert (form.top, form.left) == (1, 1)
    assert np.allclose(form.amount, [[1, 1, 0.5], [0.5, 0.5, 0.25]])


def test_overlapping_forms_cover_once_whatever_way_round_they_run():
    square = np.array([(1.0, 1.0), (3.0, 1.0), (3.0, 3.0), (1.0, 3.0)])
    assert np.allclose(cover([square, square[::-1] + 0.5], 8).amount.max(), 1)
    assert cover([square], 8).amount.sum() == cover([square[::-1]], 8).amount.sum() == 4


def test_a_disc_has_the_area_of_a_disc():
    # A polygon of 24 corners has 24/2 sin(2 pi / 24) of the area of its circle; the corners here are nearly even.
    assert cover([disc(16, 16, 10)], 32).amount.sum() == pytest.approx(np.pi * 100, rel=0.02)


def test_what_lies_outside_is_cut_off():
    assert cover([disc(-40, 5, 10)], 32).amount.size == 0
    assert cover([disc(0, 16, 10)], 32).amount.sum() == pytest.approx(np.pi * 50, rel=0.03)


def test_forms_cut_each_other():
    square = np.array([(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)])
    both = cover([square], 16).within(cover([square + 2], 16))
    assert (both.top, both.left, both.amount.sum()) == (2, 2, 4)
    assert cover([square], 16).within(cover([square + 8], 16)).amount.size == 0


def test_a_stroke_is_as_wide_as_it_should_be():
    assert cover([stroke([(2, 8), (12, 8)], 2, 4)], 16).amount.sum() == pytest.approx(30)


def test_a_placement_turns_clockwise_and_mirrors_first():
    point = np.array([(1.0, 0.0)])
    quarter = 0.41421356237309503  # tan(pi / 8) turns by pi / 4
    assert np.allclose(Placement(5, 5, 2, quarter)(point), [[5 + 2**0.5, 5 + 2**0.5]])
    assert np.allclose(Placement(5, 5, 2, 0, mirrored=True)(point), [[3, 5]])


# --- the data set


def test_the_data_set_is_balanced_and_its_beginning_does_not_depend_on_its_length():
    some, more = birds.DrawnBirds("test", 32), birds.DrawnBirds("test", 48)
    assert set(Counter(some.labels).values()) == {2}
    assert some.ids == more.ids[:32]
    assert np.array_equal(some.picture(31), more.picture(31))
    assert some.digest() != more.digest()
    assert some.digest() == birds.DrawnBirds("test", 32).digest()


def test_splits_differ_and_only_one_has_hard_pictures_throughout():
    sets = {split: birds.DrawnBirds(split) for split in ("train", "test", "hard")}
    assert [len(data) for data in sets.values()] == [12_000, 1600, 1600]
    assert not np.array_equal(sets["train"].picture(0), sets["test"].picture(0))
    shares = {split: np.mean([len(data.scene(i).birds) == 2 for i in range(320)]) for split, data in sets.items()}
    assert shares["test"] == 0
    assert 0.1 < shares["train"] < 0.3
    assert 0.5 < shares["hard"] < 0.8


def test_a_subset_keeps_its_pictures():
    data = birds.DrawnBirds("hard")
    part = data.subset([5, 3])
    assert part.ids == (data.ids[5], data.ids[3])
    assert part.scene(1) == data.scene(3)
    assert np.array_equal(part.drawing(0).image, data.drawing(5).image)


def test_the_data_set_knows_the_parts_of_its_pictures_whatever_they_are_prepared_for():
    data = birds.DrawnBirds("hard", 32)
    expected = birds.draw(data.scene(21)).parts
    assert expected.any()
    for found in (data.parts(21), data.subset([3, 21]).parts(1), data.prepared(lambda _: None).parts(21)):
        assert np.array_equal(found, expected)
    assert birds.DrawnBirds("hard", 32, size=64).parts(21).shape == (64, 64)


def test_samples_make_batches():
    data = birds.DrawnBirds("test", 16)
    batch = default_collate([data[i] for i in range(3)])
    assert batch.image.shape == (3, 3, 128, 128)
    assert batch.label.tolist() == [0, 1, 2]
    assert list(batch.id) == ["test/00000", "test/00001", "test/00002"]
    assert 0 <= batch.image.min() < batch.image.max() <= 1


# --- bad input


@pytest.mark.parametrize(("call", "error", "says"), [
    (lambda: birds.DrawnBirds("tset"), UnknownNameError, "test"),
    (lambda: birds.DrawnBirds("test", 0), ValueError, "at least 1"),
    (lambda: birds.compose((1,), 16), ValueError, r"\[0, 16\), got 16"),
    (lambda: birds.telling_parts(0, -1), ValueError, r"\[0, 16\), got -1"),
    (lambda: birds.draw(birds.compose((1,), 0), 16), ValueError, "32 x 32"),
    (lambda: birds.draw(birds.compose((1,), 0)).mask("ear"), ValueError, "no part 'ear'; its parts are body, head"),
    (lambda: birds.compose((1,), 0).with_species(1, bird=1), ValueError, "has 1 birds, there is no bird 1"),
])
def test_bad_input_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()
