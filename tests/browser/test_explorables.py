"""The other explorables in built pages: looked-up curves, steps, a transformer's blocks; and all of them unscripted."""

import re

import pytest

from contrastlib import contrast, data, explorables, models, perturbation
from contrastlib.attribution import AttentionRollout, attentions

STEPS = "/chapters/06_does_pushing_along_the_map_push_the_probability.html"
MASKS = "/chapters/07_what_happens_when_we_keep_only_the_evidence.html"
BLOCKS = "/chapters/10_where_does_a_transformer_look.html"
EXPLORABLES = {"/chapters/01_why_this_class_and_not_another.html": 1, "/chapters/02_one_dial_from_mean_to_max.html": 1,
               "/chapters/03_which_layer_which_sign.html": 1, STEPS: 1, MASKS: 1, BLOCKS: 1,
               "/chapters/11_why_is_it_wrong.html": 1}


@pytest.fixture(scope="module")
def hard():
    return data.load("drawn_birds", "hard")


def opened(visit, path, kind):
    page = visit(path)
    shown = page.tab.locator(f".cl-{kind}")
    shown.scroll_into_view_if_needed()
    page.tab.wait_for_function("document.documentElement.dataset.widgets === 'ready'")
    page.tab.wait_for_timeout(200)  # photographs decode a moment later
    return page, shown


def pixels(shown):
    return shown.locator("canvas").evaluate_all("""all => all.map((c) => c.width ? Array.from(
      c.getContext("2d").getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 97 === 0)).join() : "")""")


def test_masking_follows_the_curve(visit, hard):
    page, shown = opened(visit, MASKS, "masking")
    known = explorables.masking(models.load("birds_vgg"), {"109": hard.picture(109)})
    slider = shown.get_by_role("slider", name="share of the picture that is removed, in per cent")
    seen = []
    for share in (0, 30, 60, 100):
        slider.fill(str(share))
        numbers = [float(text) for text in shown.locator(".cl-number").all_inner_texts()]
        for number, name in zip(numbers, ("original", "weighted")):
            assert number == pytest.approx(known.curve(name)[share // 5], abs=0.006)
        seen.append(pixels(shown))
    assert len({tuple(pictures) for pictures in seen}) == 4
    assert len(set(seen[1])) == 2  # the two maps do not mark the same
    assert shown.locator(".cl-says").inner_text().startswith("With everything blurred")
    assert page.complaints == []


def test_masking_from_the_other_end_and_of_the_other_class(visit, hard):
    _, shown = opened(visit, MASKS, "masking")
    known = explorables.masking(models.load("birds_vgg"), {"109": hard.picture(109)}, target=1, removed="lowest")
    shown.get_by_role("slider").fill("40")
    before = pixels(shown)
    shown.get_by_role("radio", name="what speaks least").check(force=True)
    shown.get_by_role("combobox", name="how likely is").select_option("1")
    numbers = [float(text) for text in shown.locator(".cl-number").all_inner_texts()]
    assert numbers == pytest.approx([known.curve(name)[8] for name in ("original", "weighted")], abs=0.006)
    assert pixels(shown) != before


def test_steps_change_logit_probability_and_accuracy(visit, hard):
    page, shown = opened(visit, STEPS, "pushing")
    network, which = models.load("birds_vgg"), [109, *range(15)]
    images, labels = network.prepare([hard.picture(i) for i in which]), [hard.labels[i] for i in which]
    target = perturbation.logits_of(network, images).new_tensor(labels).long()
    moved = perturbation.gradient_sign(network, images, target, contrast.weighted, epsilon=0.0012, steps=4)
    chance = perturbation.logits_of(network, moved).softmax(-1).gather(1, target[:, None]).mean().item()
    before = pixels(shown)
    shown.get_by_role("slider", name="number of steps").fill("4")
    shown.get_by_role("radio", name="weighted").check(force=True)
    page.tab.wait_for_timeout(200)
    chart = shown.get_by_role("img", name=re.compile("^probability")).get_attribute("aria-label")
    assert float(re.search(r"weighted (\d\.\d+)", chart)[1]) == pytest.approx(chance, abs=0.006)
    assert pixels(shown) != before
    assert page.complaints == []


def test_blocks_of_a_transformer_as_published_and_corrected(visit, hard):
    page, shown = opened(visit, BLOCKS, "blocks")
    network = models.load("birds_vit")
    image = network.prepare(hard.picture(11))
    found = attentions(network, image, network.top(image, 1)[0][0][0], contrast.weighted)
    shown.get_by_role("radio", name="weighted").check(force=True)
    shown.get_by_role("radio", name="attention rollout").check(force=True)
    corrected, seen = shown.locator("canvas").nth(1), []
    for block in range(4):
        shown.get_by_role("slider", name="block", exact=True).fill(str(block))
        exact = AttentionRollout().rollout(found, block)[0, 0]
        for _ in range(14):  # into the upper left corner, whose cell is read without its neighbours
            corrected.press("ArrowLeft")
            corrected.press("ArrowUp")
        text = shown.locator(".cl-here").inner_text().replace("−", "-")
        number = re.search(r"corrected ([+-]?[\d.]+)(?:·10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
        power = int((number[2] or "⁰").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
        assert float(number[1]) * 10**power == pytest.approx(exact[0, 0].item(), abs=0.01 * exact.abs().max().item())
        seen.append(tuple(pixels(shown)[:2]))
    assert len(set(seen)) == 4
    assert all(published != right for published, right in seen)
    assert page.complaints == []


def test_other_methods_classes_and_playing(visit):
    page, shown = opened(visit, BLOCKS, "blocks")
    seen = [pixels(shown)]
    for name in ("Grad-CAM", "original"):
        shown.get_by_role("radio", name=name).check(force=True)
        seen.append(pixels(shown))
    assert seen[0] != seen[1] != seen[2]
    shown.get_by_role("slider", name="block", exact=True).fill("2")
    shown.get_by_role("button", name="play").click()
    shown.get_by_role("button", name="play").wait_for(timeout=10_000)  # it says "stop" until it has come to the end
    assert shown.get_by_role("slider", name="block", exact=True).input_value() == "3"
    assert "get no gradient" in shown.inner_text()  # nothing reads the patches behind the last block
    assert page.complaints == []


@pytest.mark.parametrize("path", EXPLORABLES)
def test_a_page_without_scripts_shows_a_still(path, chromium, site):
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(site + path)
    stills = tab.locator(".cell_output noscript img")
    assert stills.count() == EXPLORABLES[path]
    for still in stills.all():
        still.scroll_into_view_if_needed()
        box = still.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
    context.close()


@pytest.mark.parametrize("path", EXPLORABLES)
def test_a_page_with_scripts_shows_no_still(path, visit):
    page = visit(path)
    page.tab.wait_for_function("document.documentElement.dataset.widgets === 'ready'")
    assert page.tab.locator(".cl-widget").count() == EXPLORABLES[path]
    assert page.tab.locator("noscript img").count() == 0


@pytest.mark.parametrize("path", EXPLORABLES)
@pytest.mark.parametrize("wide", [400, 1280])
def test_nothing_sticks_out_of_an_explorable(path, wide, visit):
    page = visit(path)
    page.tab.set_viewport_size({"width": wide, "height": 900})
    page.tab.wait_for_function("document.documentElement.dataset.widgets === 'ready'")
    out = page.tab.locator(".cl-widget").evaluate_all("""all => all.flatMap((root) => {
      const right = root.getBoundingClientRect().right + 0.5;
      return [...root.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > right && e.offsetParent)
        .map((e) => e.outerHTML.slice(0, 90));
    })""")
    assert out == []


def test_two_explorables_of_one_page_do_not_share_their_choices(visit):
    """Each explorable brings its own copy of the parts that all use."""
    page, shown = opened(visit, STEPS, "pushing")
    name = shown.get_by_role("radio").first.get_attribute("name")
    other, blocks = opened(visit, BLOCKS, "blocks")
    assert name
    assert blocks.get_by_role("radio").first.get_attribute("name") != name
    assert page.complaints == other.complaints == []
