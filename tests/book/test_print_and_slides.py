"""The printed book is whole, the ten slides show their figures and obey keys, and nothing of a page is cut."""

import re

import pytest

from tests.book.test_site import SITE
from tools import pdf

pytestmark = pytest.mark.site

CHAPTERS = [path.stem for path in pdf.pages(SITE)]
# What overflows and shows no bar for it, but for what only a screen reader meets
HIDDEN = """() => {
    document.querySelectorAll('article details').forEach(e => e.open = true);
    const boxes = 'figure, .output, .folded, .pst-scrollable-table-container, mjx-container, .math, .pnp-table';
    const most = document.querySelector('article').getBoundingClientRect().right + 1;
    return [...document.querySelectorAll('article :is(pre, table, img, p, mjx-container[display])')].filter(e => {
        const box = e.closest(boxes), bar = box && ['auto', 'scroll'].includes(getComputedStyle(box).overflowX);
        return e.checkVisibility() && !bar && e.getBoundingClientRect().right > most;
    }).map(e => e.outerHTML.slice(0, 100));
}"""
CODE_CUT = """selector => [...document.querySelectorAll(selector)].filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.textContent.slice(0, 80))"""


def test_the_printed_book_is_whole_and_nothing_is_cut(browser, tmp_path):
    page = pdf.compose(browser, SITE)
    assert page.evaluate("[...document.querySelectorAll('article')].map(e => e.id)") == CHAPTERS
    assert page.evaluate(pdf.CUT) == []
    assert page.evaluate("[...document.images].filter(i => !(i.naturalWidth > 0)).length") == 0
    links = "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => decodeURIComponent(a.hash.slice(1)))"
    assert page.evaluate(f"{links}.filter(id => !document.getElementById(id))") == []
    pdf.write(page, out := tmp_path / "book.pdf")
    content = out.read_bytes()
    assert content.startswith(b"%PDF")
    assert b"file:" not in content, "a link of the machine's"
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > len(CHAPTERS)
    page.evaluate("document.images[0].insertAdjacentHTML('afterend', '<pre style=width:2000px>wide</pre>')")
    (line,) = page.evaluate(pdf.CUT)
    assert "wide" in line
    page.close()


@pytest.mark.parametrize("name", CHAPTERS)
def test_nothing_is_cut_on_a_desk_or_a_telephone(opened, name):
    page = opened(SITE / "book" / f"{name}.html", viewport={"width": 1280, "height": 800})
    page.evaluate("() => window.MathJax?.startup?.promise")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(HIDDEN) == [], width
        assert page.evaluate(CODE_CUT, "article pre" if width > 600 else ".cell_input pre") == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_ten_slides_each_with_its_figure_obey_the_arrows(opened):
    page = opened(SITE / "book" / "slides.html", viewport={"width": 1280, "height": 800})
    slides = page.locator(".slide")
    assert slides.count() == 10
    assert slides.locator("img").count() == 8  # all but the title and the last
    assert page.evaluate("Promise.all([...document.images].map(i => i.decode())).then(() => true)")
    assert page.evaluate("[...document.images].every(i => i.alt.length > 20)")
    assert page.evaluate("[...document.querySelectorAll('.slide')].every(s => s.offsetHeight <= innerHeight + 1)")
    at = "Math.round(scrollY / innerHeight)"
    way = {"ArrowRight": 1, "ArrowDown": 2, "ArrowLeft": 1, "End": 9, "PageDown": 9, "Home": 0}
    for key, place in way.items():
        page.keyboard.press(key)
        page.wait_for_function(f"{at} === {place}")


def test_the_first_page_leads_to_the_slides(opened):
    page = opened(SITE / "book" / "index.html")
    assert page.locator("article a[href='slides.html']").count() == 1
