"""The contrast explorer in built pages, without a kernel: its arithmetic is the library's, and it answers at once."""

import json
import re

import pytest

from contrastlib import contrast, models
from contrastlib.attribution import grad_cam, linear_approximation, xgrad_cam
from contrastlib.data import photographs

DIAL = "/chapters/02_one_dial_from_mean_to_max.html"
METHODS = "/chapters/03_which_layer_which_sign.html"
MISTAKES = "/chapters/11_why_is_it_wrong.html"
MARKS = {"max": 0, "weighted": 50, "mean": 100}


@pytest.fixture(scope="module")
def cat():
    classifier = models.load("tf_efficientnet_lite0")
    return classifier, classifier.prepare(photographs.load("chelsea").image)


@pytest.fixture(scope="module")
def maps(cat):
    return grad_cam.class_maps(*cat)


def explorer(visit, path=DIAL):
    page = visit(path)
    shown = page.tab.locator(".cl-explorer").first
    shown.scroll_into_view_if_needed()
    page.tab.wait_for_function("document.querySelector('.cl-seen canvas').width > 0")
    return page, shown


def pixels(shown, which=".cl-seen"):
    return shown.locator(f"{which} canvas").first.evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 97 === 0))")


def ends(shown):
    """The numbers shown: the largest and the smallest relevance."""
    text = shown.locator(".cl-reads").inner_text().replace("−", "-")
    return tuple(float(number) for number in re.findall(r"[+-]?\d+\.\d+", text))


def assert_reads(shown, exact):
    high, low = ends(shown)
    reach = (exact.max() - exact.min()).item()
    assert high == pytest.approx(exact.max().item(), abs=0.01 * reach + 6e-4)  # three decimals are shown
    assert low == pytest.approx(exact.min().item(), abs=0.01 * reach + 6e-4)


def test_dial_turns_from_end_to_end_and_agrees_with_the_library(visit, cat, maps):
    page, shown = explorer(visit)
    target = cat[0].index("tiger cat")
    slider = shown.get_by_role("slider", name="temperature of the contrast")
    seen = []
    for mark, position in MARKS.items():
        slider.fill(str(position))
        assert_reads(shown, maps.combine(getattr(contrast, mark), target))
        seen.append(pixels(shown))
    assert seen[0] != seen[1] != seen[2] != seen[0]
    slider.fill("70")
    assert_reads(shown, maps.combine(contrast.tempered(10**0.4), target))
    assert page.complaints == []


def test_named_contrasts_agree_with_the_library(visit, cat, maps):
    _, shown = explorer(visit)
    target = cat[0].index("tiger cat")
    for name in ("original", *MARKS):
        shown.get_by_role("radio", name=name, exact=True).check()
        assert_reads(shown, maps.combine(getattr(contrast, name), target))


def test_a_class_is_found_by_name_and_explained(visit, cat, maps):
    _, shown = explorer(visit)
    before = pixels(shown)
    shown.get_by_role("searchbox", name="search a class by name").fill("snow leop")
    shown.get_by_role("radio", name="why snow leopard?").check()
    assert shown.locator(".cl-says").inner_text().startswith("Why snow leopard rather than the others, tiger cat")
    assert_reads(shown, maps.combine(contrast.weighted, cat[0].index("snow leopard")))
    assert pixels(shown) != before


def test_foils_are_clicked(visit, cat, maps):
    _, shown = explorer(visit)
    before, index = pixels(shown), cat[0].index
    shown.get_by_role("checkbox", name="why not Egyptian cat?").check()
    assert shown.locator(".cl-says").inner_text() == "Why tiger cat rather than Egyptian cat?"
    assert_reads(shown, maps.combine(contrast.foil(index("Egyptian cat")), index("tiger cat")))
    assert pixels(shown) != before
    shown.get_by_role("checkbox", name="why not tabby?").check()
    assert shown.locator(".cl-says").inner_text() == "Why tiger cat rather than Egyptian cat or tabby?"
    both = [index("Egyptian cat"), index("tabby")]
    assert_reads(shown, maps.combine(contrast.foil(both), index("tiger cat")))
    for name in ("Egyptian cat", "tabby"):
        shown.get_by_role("checkbox", name=f"why not {name}?").uncheck()
    assert shown.get_by_role("radio", name="weighted").is_checked()
    assert pixels(shown) == before
    said = shown.get_by_text("No class is checked any more")  # it is another contrast, which no one has asked for
    assert said.is_visible()
    shown.get_by_role("radio", name="mean").check()
    assert not said.is_visible()


def test_weights_are_drawn_beside_the_map(visit, cat, maps):
    _, shown = explorer(visit)
    row = -contrast.weights(contrast.weighted, maps.logits, maps.logits.argmax(-1))[0]
    for name in ("Egyptian cat", "tabby"):
        line = shown.get_by_role("row").filter(has_text=name)
        assert float(line.locator(".cl-alpha").inner_text()) == pytest.approx(row[cat[0].index(name)].item(), abs=6e-4)
        bar, whole = (line.locator(f".cl-alpha .cl-{part}").bounding_box()["width"] for part in ("fill", "bar"))
        assert bar / whole == pytest.approx(row[cat[0].index(name)].item(), abs=0.02)


def test_method_is_switched(visit, cat):
    page, shown = explorer(visit, METHODS)
    before = None
    for name, rule in {"Grad-CAM": grad_cam, "linear approx.": linear_approximation, "XGradCAM": xgrad_cam}.items():
        shown.get_by_role("combobox", name="method").select_option(name)
        assert_reads(shown, rule(*cat, cat[0].index("tiger cat"), contrast.weighted, layer="blocks.5", upsample=False))
        assert pixels(shown) != before
        before = pixels(shown)
    assert page.complaints == []


def test_another_picture(visit):
    _, shown = explorer(visit, METHODS)
    before = pixels(shown)
    shown.get_by_role("combobox", name="picture").select_option("palace")
    assert "palace" in shown.locator(".cl-says").inner_text()
    assert pixels(shown) != before


def test_two_maps_side_by_side_and_their_difference(visit):
    _, shown = explorer(visit)
    shown.get_by_role("checkbox", name="why not Egyptian cat?").check()
    shown.get_by_role("button", name="keep this map beside").click()
    kept = shown.locator(".cl-beside figure")
    assert kept.nth(0).inner_text() == "kept: Why tiger cat rather than Egyptian cat? (Grad-CAM)"
    shown.get_by_role("radio", name="why Egyptian cat?").check()
    shown.get_by_role("checkbox", name="why not tiger cat?").check()
    canvas = shown.locator(".cl-seen canvas")
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] / 3, "y": box["height"] / 3})
    now, before, difference = (float(n) for n in re.findall(
        r"[+-]?\d+\.\d+", shown.locator(".cl-here").inner_text().replace("−", "-")))
    assert before == pytest.approx(-now, abs=0.002)
    assert difference == pytest.approx(now - before, abs=0.003)
    shown.get_by_role("button", name="let it go").click()
    assert not kept.nth(0).is_visible()


def test_a_kept_map_stays_that_of_its_picture(visit):
    page, shown = explorer(visit, METHODS)
    shown.get_by_role("button", name="keep this map beside").click()
    kept, difference = shown.locator(".cl-beside figure").all()
    text, before = kept.inner_text(), pixels(shown, ".cl-beside")
    assert difference.is_visible()
    shown.get_by_role("combobox", name="picture").select_option("palace")
    assert pixels(shown, ".cl-beside") == before != pixels(shown)
    assert kept.inner_text() == text.replace("(Grad-CAM)", "(Grad-CAM, Chelsea)")
    assert not difference.is_visible()  # maps of two pictures have none
    shown.get_by_role("combobox", name="picture").select_option("Chelsea")
    assert difference.is_visible()
    assert page.complaints == []


def test_a_place_is_read_off_by_keyboard(visit, maps):
    _, shown = explorer(visit)
    shown.get_by_role("radio", name="original", exact=True).check()
    canvas = shown.locator(".cl-seen canvas")
    for _ in range(14):
        canvas.press("ArrowLeft")
        canvas.press("ArrowUp")
    corner = maps.maps[0, maps.logits.argmax(), 0, 0].item()
    here = shown.locator(".cl-here").inner_text().replace("−", "-")
    assert float(here.split()[1]) == pytest.approx(corner, abs=0.002)
    assert shown.locator(".cl-cross").first.is_visible()


@pytest.mark.parametrize(("group", "choice"), [("colours", "the papers'"), ("scale", "one for all classes"),
                                               ("show", "for"), ("show", "against")])
def test_how_it_is_drawn(visit, group, choice):
    _, shown = explorer(visit)
    before = pixels(shown)
    shown.get_by_text("how it is drawn").click()
    shown.get_by_role("group", name=group).get_by_role("radio", name=choice, exact=True).check()
    assert pixels(shown) != before


def test_without_overlay_only_the_photograph_is_left(visit):
    _, shown = explorer(visit)
    shown.get_by_text("how it is drawn").click()
    shown.get_by_role("slider", name="strength of the overlay").fill("0")
    bare = pixels(shown)
    shown.get_by_role("radio", name="mean").check()
    assert pixels(shown) == bare


def test_everything_is_reached_by_keyboard(visit):
    page, shown = explorer(visit)
    slider = shown.get_by_role("slider", name="temperature of the contrast")
    slider.press("End")
    assert slider.get_attribute("aria-valuetext") == "temperature ∞"
    slider.press("Home")
    assert slider.get_attribute("aria-valuetext") == "temperature 0"
    first = shown.get_by_role("radio", name="why tiger cat?")
    first.press("ArrowDown")
    assert shown.get_by_role("radio", name="why Egyptian cat?").is_checked()
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Space")
    assert shown.locator(".cl-says").inner_text().startswith("Why Egyptian cat rather than ")
    assert shown.get_by_role("radio", name="foils").is_checked()


def test_every_control_has_a_name(visit):
    _, shown = explorer(visit)
    shown.get_by_role("button", name="keep this map beside").click()
    nameless = shown.evaluate("""root => [...root.querySelectorAll("input, select, canvas, button")].filter((e) =>
      e.offsetParent && !(e.ariaLabel || e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML.slice(0, 80))
    """)
    assert nameless == []


# A choice, and the time until the page has been laid out again.
REDRAW = """async (root) => {
  const slider = root.querySelector(".cl-dial input"), times = [];
  const targets = [...root.querySelectorAll(".cl-classes input[type=radio]")];
  for (let i = 0; i < 60; i++) {
    const start = performance.now();
    if (i % 2) targets[(i >> 1) % targets.length].click();
    else { slider.value = String((37 * i) % 101); slider.dispatchEvent(new Event("input")); }
    await null;
    await null;
    root.getBoundingClientRect();
    times.push(performance.now() - start);
    await new Promise(requestAnimationFrame);
  }
  return times;
}"""


def test_redraw_of_a_thousand_classes_fits_a_frame(visit):
    _, shown = explorer(visit)
    before = shown.locator(".cl-says").inner_text()
    times = sorted(shown.evaluate(REDRAW))
    assert shown.locator(".cl-says").inner_text() != before
    assert times[0] > 0.3  # it did draw: this is no count of nothing
    assert times[len(times) // 2] <= 16


def records(html, path):
    text = (html / path.removeprefix("/")).read_text(encoding="utf8")
    return re.findall(r'<script type="application/vnd.jupyter.widget-state\+json">(.*?)</script>', text, re.DOTALL)


def test_state_is_compact(html):
    """A page of explorables has 1.5 MB at most, and a picture of 1000 classes with one method about 100 kB."""
    pages = sorted((html / "chapters").glob("*.html"))
    assert {page.name: page.stat().st_size for page in pages if page.stat().st_size > 1.5e6} == {}
    (state,) = (json.loads(text)["state"] for text in records(html, DIAL))
    (shown,) = (record for record in state.values() if record["model_module"] == "anywidget")
    (picture,) = shown["state"]["pictures"]
    assert len(picture["photo"]) + sum(len(buffer["data"]) for buffer in shown["buffers"]) < 105_000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_the_page(visit, theme):
    """WCAG's contrast of 4.5 for the sentence and the two colours that mark classes."""
    page, shown = explorer(visit)
    page.tab.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    shown.get_by_role("checkbox", name="why not Egyptian cat?").check()
    ground = "rgb(18, 18, 18)" if theme == "dark" else "rgb(255, 255, 255)"
    shown.get_by_role("button", name="keep this map beside").click()
    for where in (".cl-says", ".cl-target .cl-name", ".cl-foil .cl-name", ".cl-beside figcaption", ".cl-rest"):
        colour = shown.locator(where).first.evaluate("e => getComputedStyle(e).color")
        assert _ratio(colour, ground) >= 4.5, (where, colour)


def _ratio(one, other):
    def luminance(text):
        parts = [int(float(n)) / 255 for n in re.findall(r"[\d.]+", text)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_true_class_is_marked_where_the_network_is_wrong(visit):
    _, shown = explorer(visit, MISTAKES)
    marked = shown.get_by_role("row").filter(has_text="★")
    assert marked.count() == 1
    assert not marked.get_by_role("radio").is_checked()  # the predicted class is explained, not the true one
