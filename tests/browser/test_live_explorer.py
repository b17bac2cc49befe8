"""The contrast explorer with a kernel behind it: a photograph handed in, choices that go both ways."""

import numpy as np
import pytest
from live import live
from PIL import Image

START = """
import ipywidgets
from contrastlib import explorables, models
explorer = explorables.LiveExplorer(models.load("birds_vgg"), contrast="weighted")
slider = ipywidgets.IntSlider(max=100)
_ = ipywidgets.link((slider, "value"), (explorer, "position"))
"""


@pytest.fixture
def shown(chromium, tmp_path):
    context = chromium.new_context()
    with live(context.new_page(), cwd=str(tmp_path)) as both:
        both.run(START)
        both.show("explorer")
        yield both
    context.close()


@pytest.fixture
def bird(tmp_path):
    from contrastlib.data import birds

    drawn = birds.draw(birds.compose((16, 5), 5), 128).image
    Image.fromarray(np.asarray(drawn)).save(tmp_path / "bird.png")
    return tmp_path / "bird.png"


def colours(tab):
    return tab.locator(".cl-seen canvas").evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 97 === 0))")


def test_a_photograph_is_handed_in_and_explained(shown, bird):
    tab = shown.tab
    assert tab.locator(".cl-says").inner_text() == "No picture yet."
    tab.get_by_label("a photograph of yours").set_input_files(str(bird))
    shown.until(lambda: tab.locator(".cl-seen canvas").is_visible())
    shown.until(lambda: tab.locator(".cl-status").inner_text() == "")
    name = shown.run("print(explorer.names[explorer.target])")
    assert tab.locator(".cl-says").inner_text().startswith(f"Why {name} rather than the others")
    assert shown.run("print(explorer.pictures[0]['title'], explorer.progress, explorer.problem)") == "bird.png 1.0"
    # the page's number is the kernel's
    most = tab.locator(".cl-reads").inner_text().split("most for +")[1].split(",")[0]
    assert float(most) == pytest.approx(float(shown.run("print(explorer.relevance().max())")), abs=1e-3)
    assert shown.complaints == []


def test_choices_go_both_ways(shown, bird):
    tab = shown.tab
    shown.run(f"explorer.open_photograph({str(bird)!r}); explorer.wait(60)")
    before = colours(tab)
    search = tab.get_by_role("searchbox", name="search a class by name")
    search.fill("yellow-leg")
    tab.get_by_role("radio", name="why Yellow-legged bibbet?").check()
    search.fill("coral")
    tab.get_by_role("checkbox", name="why not Coral-billed ringeye?").check()
    names = "print(explorer.names[explorer.target], [explorer.names[c] for c in explorer.foils], explorer.contrast)"
    assert shown.run(names) == "Yellow-legged bibbet ['Coral-billed ringeye'] foil"
    assert colours(tab) != before
    shown.run("explorer.contrast, explorer.target = 'mean', 2; slider.value = 100")
    assert tab.get_by_role("radio", name="mean").is_checked()
    name = shown.run("print(explorer.names[2])")
    assert tab.locator(".cl-says").inner_text() == f"Why {name} rather than the average of the 15 others?"
    tab.get_by_role("slider", name="temperature of the contrast").press("Home")
    assert shown.run("print(explorer.contrast, explorer.position, slider.value)") == "tempered 0 0"
    assert shown.complaints == []


def test_a_kept_map_stays_that_of_its_picture(shown, bird):
    tab = shown.tab
    shown.run("from PIL import Image; import numpy as np")
    shown.run(f"explorer.open_photograph({str(bird)!r}); explorer.wait(60)")
    shown.run(f"explorer.open_photograph(Image.open({str(bird)!r}).rotate(90), 'turned'); explorer.wait(60)")
    tab.get_by_role("button", name="keep this map beside").click()
    shown.until(lambda: shown.run("print(explorer.pinned['picture'])") == "1")
    kept, difference = tab.locator(".cl-beside figure").all()
    assert difference.is_visible()
    text = kept.inner_text()
    tab.get_by_role("combobox", name="picture").select_option("bird.png")
    assert kept.inner_text() == text.replace(")", ", turned)")
    assert not difference.is_visible()
    tab.get_by_role("combobox", name="picture").select_option("turned")
    assert kept.inner_text() == text
    assert difference.is_visible()
    assert shown.complaints == []


def test_a_last_foil_that_is_unchecked_is_no_silent_change(shown, bird):
    tab = shown.tab
    shown.run(f"explorer.open_photograph({str(bird)!r}); explorer.wait(60)")
    said, foil = tab.get_by_text("No class is checked any more"), tab.get_by_role("checkbox", disabled=False).first
    assert not said.is_visible()
    foil.check()
    assert shown.run("print(explorer.contrast)") == "foil"
    foil.uncheck()
    assert shown.run("print(explorer.contrast, explorer.foils)") == "weighted []"
    assert said.is_visible()
    tab.get_by_role("radio", name="mean").check()
    assert not said.is_visible()
    assert shown.complaints == []


def test_what_is_no_picture_is_said_in_the_page(shown, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf8")
    shown.tab.get_by_label("a photograph of yours").set_input_files(str(tmp_path / "notes.txt"))
    alert = shown.tab.get_by_role("alert")
    shown.until(alert.is_visible)
    assert alert.inner_text() == "notes.txt could not be explained: the picture is not an image file that can be read"
