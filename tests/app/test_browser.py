"""The page as a person uses it, in headless Chromium: type, click, hover, two turns, a wrong file, a phone."""

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the extra `demo` is not installed: make install-demo")
driver = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
DESCRIBE = "Describe the image."
WHERE, COLOUR = "Where is the black star?", "What color is it?"  # of the first example
WAIT = 300_000  # milliseconds


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with driver.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """One person's tab, and everything that it asked for."""

    def __init__(self, browser: Any, address: str, width: int, height: int) -> None:
        phone = width < 600
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            is_mobile=phone,
            has_touch=phone,
            accept_downloads=True,
        )
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context.set_default_timeout(WAIT)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#stage canvas")
        self.page.wait_for_function("document.querySelector('#stage canvas').width > 500")

    def ask(self, question: str) -> Any:
        """Type and press Enter; the last answer, when it is whole."""
        before = self.page.locator(".answer").count()
        self.page.fill("#question textarea", question)
        self.page.press("#question textarea", "Enter")
        answer = self.page.locator(".answer:not(.growing)").nth(before)
        answer.wait_for()
        return answer

    def first_phrase(self) -> Any:
        """Ask for a description; its first phrase, when the stage shows all masks: before, it may not stay pinned."""
        phrase = self.ask(DESCRIBE).locator(".phrase").first
        self.page.locator("#stage .caption", has_text="Point at").wait_for()
        return phrase

    def still(self) -> np.ndarray:
        """The picture when it does not change any more, (height, width, 3)."""
        before, now = self._canvas(), self._canvas()
        while changed(before, now):
            before, now = now, self._canvas()
        return now

    def becomes(self, wanted: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
        """Wait until the picture is as wanted, and say what that is where it never is."""
        for _ in range(WAIT // 400):
            picture = self._canvas()
            if wanted(picture):
                return picture
        raise AssertionError(what)

    def _canvas(self) -> np.ndarray:
        self.page.wait_for_timeout(400)
        png = self.page.locator("#stage canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int)

    def notice(self) -> str:
        """What the page says went wrong."""
        self.page.wait_for_selector(".notice")
        return str(self.page.inner_text(".notice"))


@pytest.fixture
def visits(browser: Any, app: str) -> Iterator[Any]:
    with ExitStack() as stack:

        def visit(width: int = 1280, height: int = 900) -> Visit:
            made = Visit(browser, app, width, height)
            stack.callback(made.context.close)
            return made

        yield visit


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """The share of pixels that look different."""
    if before.shape != after.shape:
        return 1.0
    return float((np.abs(before - after).max(axis=-1) > 20).mean())


def test_two_turns_a_phrase_and_its_mask_and_nothing_from_elsewhere(visits: Any, app: str) -> None:
    visit = visits()
    page, plain = visit.page, visit.still()
    first = visit.ask(WHERE)
    assert first.inner_text().strip()
    phrase = first.locator(".phrase").first
    visit.becomes(lambda picture: changed(plain, picture) > 0.01, "an answer shows its masks")
    together = visit.still()

    phrase.hover()
    visit.becomes(
        lambda picture: changed(together, picture) > 0.05, "pointing at a phrase shows its mask alone"
    )
    page.mouse.move(2, 2)
    visit.becomes(lambda picture: changed(together, picture) < 0.01, "and then all are back")

    phrase.click()
    page.wait_for_selector("#heads .grid")
    page.mouse.move(2, 2)
    assert phrase.get_attribute("aria-pressed") == "true"
    assert changed(together, visit.still()) > 0.05, "a clicked phrase stays"
    assert phrase.inner_text().split()[0] in page.inner_text("#stage .caption")
    assert page.locator("#heads figure").count() == 6

    second = visit.ask(COLOUR)
    assert "black" in second.inner_text(), "it knows what was said"
    assert page.locator(".question").count() == page.locator(".answer").count() == 2
    assert second.locator(".phrase").count() == 1
    assert not visit.errors
    assert all(url.startswith((app, "data:", "blob:")) for url in visit.requests)


def test_the_slider_goes_from_the_coarse_to_the_refined_mask(visits: Any) -> None:
    visit = visits()
    visit.first_phrase().click()
    visit.page.mouse.move(2, 2)
    visit.page.wait_for_selector("#heads .grid")
    refined = visit.still()
    visit.page.locator("#stage input").focus()
    visit.page.keyboard.press("Home")
    visit.becomes(lambda picture: 0 < changed(refined, picture) < 0.6, "the coarse mask is another one")
    visit.page.keyboard.press("End")
    visit.becomes(lambda picture: changed(refined, picture) == 0, "and back")


def test_the_keyboard_is_enough(visits: Any) -> None:
    visit = visits()
    phrase = visit.first_phrase()
    phrase.focus()
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#heads .grid")
    assert phrase.get_attribute("aria-pressed") == "true"


def test_a_wrong_file_and_an_empty_question_are_told_and_the_talk_goes_on(
    visits: Any, tmp_path: Path
) -> None:
    visit = visits()
    wrong = tmp_path / "letter.txt"
    wrong.write_text("dear reader")
    visit.ask(DESCRIBE)
    with visit.page.expect_file_chooser() as chooser:
        visit.page.click("#upload")
    chooser.value.set_files(wrong)
    assert "not a picture" in visit.notice()
    assert visit.page.locator(".answer").count() == 1
    visit.page.fill("#question textarea", "  ")
    visit.page.press("#question textarea", "Enter")
    visit.page.wait_for_function("document.querySelector('.notice')?.innerText.includes('empty')")
    visit.ask(DESCRIBE)
    driver.expect(visit.page.locator(".answer")).to_have_count(2, timeout=WAIT)
    visit.page.wait_for_selector(".notice", state="detached")


def test_an_own_picture_is_seen_by_its_owner_alone(visits: Any, tmp_path: Path) -> None:
    own, other = visits(), visits()
    before = other.still()
    file = tmp_path / "own.png"
    Image.new("RGB", (200, 150), (10, 200, 90)).save(file)
    with own.page.expect_file_chooser() as chooser:
        own.page.click("#upload")
    chooser.value.set_files(file)
    green = np.array([10, 200, 90])
    own.becomes(lambda picture: np.abs(picture[50, 50] - green).max() < 12, "the own picture is shown")
    assert changed(before, other.still()) == 0


def test_what_people_type_is_text_and_never_a_part_of_the_page(visits: Any) -> None:
    visit = visits()
    typed = "<img src=x onerror=alert(1)> ${1+1} {{value}} <b>bold</b>"
    visit.ask(typed)
    assert visit.page.inner_text(".question") == typed
    assert visit.page.locator(".question *").count() == 0


def test_the_export_is_a_zip_with_pictures_and_json(visits: Any) -> None:
    visit = visits()
    visit.ask(DESCRIBE)
    with visit.page.expect_download() as download:
        visit.page.click("#export")
    names = zipfile.ZipFile(download.value.path()).namelist()
    assert any(name.endswith(".json") for name in names)
    assert any(name.endswith(".png") for name in names)


def test_on_a_phone_nothing_is_wider_than_the_screen(visits: Any) -> None:
    visit = visits(390, 844)
    visit.first_phrase().tap()
    visit.page.wait_for_selector("#heads .grid")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    box = visit.page.locator("#stage canvas").bounding_box()
    assert box is not None
    assert box["width"] > 300
