"""Whether maps lie where they should, each formula once more with loops over single pixels."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from contrastlib.evaluation import area, hit, moran, share_inside


def random(*shape: int, seed: int = 0, dtype=torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def of(*rows: list[float]) -> Tensor:
    """One map."""
    return torch.tensor([[list(rows)]], dtype=torch.float64)


def only(shape: tuple[int, ...], *places: tuple[int, int]) -> Tensor:
    """A region of a few places, the same in every picture."""
    region = torch.zeros(shape, dtype=torch.bool)
    for row, column in places:
        region[:, 0, row, column] = True
    return region


MAPS = random(5, 1, 6, 7)
REGION = random(5, 1, 6, 7, seed=1) > 0.5


# --- the share of the positive relevance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_share_inside_adds_up_positive_relevance(dtype):
    maps = MAPS.to(dtype)
    found = share_inside(maps, REGION)
    assert found.dtype == torch.float64
    for map_, region, share in zip(maps[:, 0].tolist(), REGION[:, 0].tolist(), found.tolist(), strict=True):
        inside, total = 0.0, 0.0
        for value, here in zip(itertools.chain(*map_), itertools.chain(*region), strict=True):
            total += value if value > 0 else 0
            inside += value if value > 0 and here else 0
        assert share == pytest.approx(inside / total, rel=1e-12)


def test_negative_relevance_counts_nowhere():
    maps = of([3.0, -50.0], [1.0, 0.0])
    assert share_inside(maps, only((1, 1, 2, 2), (0, 0), (0, 1))).item() == 0.75
    assert share_inside(maps, only((1, 1, 2, 2), (0, 1))).item() == 0
    assert share_inside(maps, torch.ones(1, 1, 2, 2, dtype=torch.bool)).item() == 1


def test_a_region_and_the_rest_share_all_of_it():
    torch.testing.assert_close(share_inside(MAPS, REGION) + share_inside(MAPS, ~REGION), torch.ones(5).double())


def test_the_unit_does_not_matter():
    torch.testing.assert_close(share_inside(1e-30 * MAPS.double(), REGION), share_inside(MAPS.double(), REGION))


def test_a_map_without_positive_relevance_has_no_share():
    maps = torch.cat([-MAPS[:1].abs(), 0 * MAPS[:1], MAPS[:1]])
    assert share_inside(maps, REGION[:3]).isnan().tolist() == [True, True, False]


def test_a_map_that_knows_nothing_gets_the_area():
    torch.testing.assert_close(share_inside(torch.full_like(MAPS, 0.3), REGION), area(REGION))
    many = random(4000, 1, 4, 4)
    region = only(many.shape, (0, 0), (1, 0), (1, 1))
    assert share_inside(many, region).mean().item() == pytest.approx(3 / 16, abs=0.01)
    assert hit(many, region).mean().item() == pytest.approx(3 / 16, abs=0.02)


# --- the pointing game


def test_hit_asks_where_the_largest_value_lies():
    found = hit(MAPS, REGION)
    expected = [float(region.flat[int(np.argmax(map_))]) for map_, region in zip(MAPS.numpy(), REGION.numpy())]
    assert found.dtype == torch.float64
    assert found.tolist() == expected
    assert 0 < sum(expected) < 5


@pytest.mark.parametrize(("places", "share"), [
    ([(0, 0)], 1 / 3), ([(0, 0), (1, 1)], 2 / 3), ([(0, 1)], 0), ([(0, 0), (1, 0), (1, 1)], 1)])
def test_ties_count_by_their_share(places, share):
    maps = of([2.0, 1.0], [2.0, 2.0])
    assert hit(maps, only((1, 1, 2, 2), *places)).item() == pytest.approx(share)


def test_the_largest_value_may_be_negative():
    assert hit(of([-5.0, -1.0]), only((1, 1, 1, 2), (0, 1))).item() == 1


def test_a_constant_map_points_nowhere():
    maps = torch.cat([torch.full((1, 1, 6, 7), 0.1), torch.zeros(1, 1, 6, 7), MAPS[:1]])
    assert hit(maps, REGION[:3]).isnan().tolist() == [True, True, False]


# --- regions


def test_area_counts_pixels():
    assert area(REGION).tolist() == pytest.approx([region.sum() / 42 for region in REGION.numpy()])
    assert area(only((2, 1, 4, 5), (0, 0), (3, 4))).tolist() == [0.1, 0.1]


def test_a_hidden_region_is_nan_and_spoils_no_other_picture():
    region = REGION.clone()
    region[2] = False
    for function in (share_inside, hit):
        found = function(MAPS, region)
        assert found.isnan().tolist() == [False, False, True, False, False]
        assert found[[0, 1, 3, 4]].equal(function(MAPS, REGION)[[0, 1, 3, 4]])
    assert area(region)[2] == 0


def test_a_map_that_is_not_a_number_is_not_measured():
    maps = MAPS.clone()
    maps[1, 0, 2, 3] = math.nan
    for found in (share_inside(maps, REGION), hit(maps, REGION), moran(maps)):
        assert found.isnan().tolist() == [False, True, False, False, False]


# --- Moran's I


def moran_plainly(map_: np.ndarray) -> float:
    """With a matrix of neighbours, each pair in it twice."""
    places = list(np.ndindex(map_.shape))
    weights = np.array([[float(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1) for b in places] for a in places])
    z = map_.astype(np.float64).flatten() - map_.astype(np.float64).mean()
    return len(z) / weights.sum() * (z @ weights @ z) / (z @ z)


@pytest.mark.parametrize("shape", [(6, 7), (7, 6), (1, 9), (9, 1), (2, 2), (14, 14)])
def test_moran_is_the_quadratic_form(shape):
    maps = random(4, 1, *shape)
    assert moran(maps).dtype == torch.float64
    assert moran(maps).tolist() == pytest.approx([moran_plainly(m[0]) for m in maps.numpy()], rel=1e-10)


@pytest.mark.parametrize("shape", [(2, 2), (5, 5), (8, 6)])
def test_a_chessboard_is_minus_one(shape):
    board = torch.tensor([[[[float((i + j) % 2) for j in range(shape[1])] for i in range(shape[0])]]])
    assert moran(board).item() == pytest.approx(-1)


def test_two_halves_by_hand():
    # z is 1 on the left and -1 on the right; of 24 pairs 4 differ: I = 16/24 * (20 - 4) / 16.
    assert moran(of(*[[1.0, 1.0, 0.0, 0.0]] * 4)).item() == pytest.approx(2 / 3)


def test_all_orders_of_the_same_values_average_to_the_expectation():
    orders = list(itertools.permutations([0.0, 1.0, 5.0, -2.0, 0.5, 7.0]))
    found = moran(torch.tensor(orders, dtype=torch.float64).reshape(-1, 1, 2, 3))
    assert found.mean().item() == pytest.approx(-1 / 5, rel=1e-12)


@pytest.mark.parametrize(("size", "most"), [(7, 0.95), (8, 0.97), (16, 1.02)])
def test_the_most_that_a_map_can_have(size, most):
    places = list(np.ndindex(size, size))
    weights = np.array([[float(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1) for b in places] for a in places])
    centre = np.eye(size**2) - 1 / size**2
    values, vectors = np.linalg.eigh(centre @ weights @ centre)
    found = moran(torch.from_numpy(vectors[:, -1].reshape(1, 1, size, size))).item()
    assert found == pytest.approx(values[-1] * size**2 / weights.sum())
    assert found == pytest.approx(most, abs=0.005)


def test_noise_is_near_zero_and_smooth_maps_are_near_one():
    noise = random(200, 1, 28, 28)
    assert moran(noise).mean().item() == pytest.approx(-1 / 783, abs=0.01)
    wave = torch.linspace(0, 3, 28).cos()
    assert moran((wave[:, None] * wave)[None, None]).item() > 0.95
    smooth = torch.nn.functional.interpolate(random(3, 1, 7, 7), size=(112, 112), mode="bilinear")
    assert (moran(smooth) > 0.95).all()


def test_moran_knows_neither_unit_nor_sign_nor_offset():
    maps = MAPS.double()
    torch.testing.assert_close(moran(-1e-12 * maps + 1e-9), moran(maps), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(moran(maps.transpose(2, 3)), moran(maps))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e20])
def test_a_constant_map_has_no_coherence(value):
    maps = torch.cat([torch.full((1, 1, 6, 7), value), MAPS[:1]])
    assert moran(maps).isnan().tolist() == [True, False]
    assert moran(torch.full((1, 1, 1, 1), value)).isnan().item()


# --- bad input


@pytest.mark.parametrize("function", [share_inside, hit])
@pytest.mark.parametrize(("maps", "region", "error", "says"), [
    (MAPS[:, 0], REGION, ValueError, r"maps must be \(N, 1, H, W\), .* got \(5, 6, 7\)"),
    (MAPS.expand(5, 3, 6, 7), REGION, ValueError, r"got \(5, 3, 6, 7\)"),
    (MAPS[..., :0], REGION, ValueError, r"at least one place, got \(5, 1, 6, 0\)"),
    (MAPS, REGION[:, 0], ValueError, r"a region must be \(N, 1, H, W\), .* got \(5, 6, 7\)"),
    (MAPS, REGION.float(), TypeError, "a region must be bool, true inside, got torch.float32"),
    (MAPS, REGION[:3], ValueError, r"must have the maps' shape \(5, 1, 6, 7\), got \(3, 1, 6, 7\)"),
    (MAPS[:, :, :0], REGION, ValueError, r"at least one place, got \(5, 1, 0, 7\)"),
    (MAPS[..., :3, :3], REGION, ValueError, r"; relevance.upsample\(\) brings maps to the resolution of the image$"),
])
def test_maps_and_regions_that_do_not_fit(function, maps, region, error, says):
    with pytest.raises(error, match=says):
        function(maps, region)


def test_bad_input_of_one_argument():
    with pytest.raises(TypeError, match=r"^a region must be bool, true inside, got torch.uint8; compare codes or "
                                        r"shares first, such as `share > 0.5`$"):
        area(REGION.to(torch.uint8))
    for region in (REGION[:, 0], REGION[:, :, 0], REGION.expand(5, 3, 6, 7), REGION[:, :, :0], REGION[..., :0]):
        with pytest.raises(ValueError, match=re.escape("a region must be (N, 1, H, W), one channel with at least one "
                                                       f"place, got {tuple(region.shape)}")):
            area(region)
    with pytest.raises(ValueError, match=r"got \(6, 7\)"):
        moran(MAPS[0, 0])


def test_no_picture_gives_no_number():
    nothing, nowhere = torch.zeros(0, 1, 4, 4), torch.zeros(0, 1, 4, 4, dtype=torch.bool)
    assert [len(found) for found in (share_inside(nothing, nowhere), hit(nothing, nowhere), area(nowhere),
                                     moran(nothing))] == [0, 0, 0, 0]
