"""axe-core on every page of the built site, folds open: by day and by night, on a desk and on a telephone."""

import contextlib
import importlib.resources

import pytest

from tests.book.test_site import PAGES, SITE

pytestmark = pytest.mark.site

# Contrast follows from colours and size alone: one element of each look is measured, of the thousands of a page
LOOKS = """() => {
    const seen = new Set();
    const ground = e => { for (; e; e = e.parentElement) {
        const { backgroundColor, backgroundImage } = getComputedStyle(e);
        if (backgroundImage !== 'none' || !/, 0\\)$/.test(backgroundColor)) return backgroundColor + backgroundImage;
    } };
    for (const e of document.body.querySelectorAll('*')) {
        delete e.dataset.look;
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
        const { color, fontSize, fontWeight, visibility } = getComputedStyle(e);
        const look = [color, fontSize, fontWeight, ground(e)].join();
        if (seen.has(look) || visibility === 'hidden' || !e.checkVisibility()) continue;
        seen.add(look);
        e.dataset.look = '';
    }
}"""
# Of code one token of each class stays, of a formula what the keyboard reaches: the rest is the same many times over
# And no colour is measured on its way from one light to the other
OPEN = """async () => {
    const still = document.head.appendChild(document.createElement('style'));
    still.textContent = '*, ::before, ::after { transition: none !important }';
    document.querySelectorAll('article details').forEach(e => e.open = true);
    const kept = new Set();
    for (const e of document.querySelectorAll(':is(pre, dt.sig) span[class]'))
        kept.has(e.className) ? e.replaceWith(...e.childNodes) : kept.add(e.className);
    document.querySelectorAll('pre').forEach(e => e.normalize());
    document.querySelectorAll('mjx-container').forEach(e => e.textContent = 'x');
    for (const e of document.querySelectorAll('.pnp')) {
        e.scrollIntoView();
        while (!['true', 'failed'].includes(e.dataset.ready)) await new Promise(r => setTimeout(r, 20));
    }
}"""
CHECK = """async all => {
    axe.configure({ rules: [{ id: 'color-contrast', selector: '[data-look]' }] });
    const options = { resultTypes: ['violations'], preload: false, ...(all ? {} : { runOnly: ['color-contrast'] }) };
    return (await axe.run(document, options)).violations.flatMap(({ id, impact, nodes }) =>
        ['serious', 'critical'].includes(impact) ? nodes.map(n => `${id}: ${n.html.slice(0, 120)}`) : []);
}"""
SETTLED = """() => [...document.querySelectorAll('pre, .cell_output > .output')].every(e =>
    e.tabIndex === 0 || e.scrollWidth <= e.clientWidth && e.scrollHeight <= e.clientHeight)"""
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def axe():
    return (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def page(browser, axe):
    page = browser.new_page(reduced_motion="reduce")
    page.axe = axe
    yield page
    page.close()


def findings(page):
    """Contrast in every light and width of the page as it is, other rules on a desk by day and a telephone by night."""
    from playwright.sync_api import TimeoutError

    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        with contextlib.suppress(TimeoutError):  # the theme looks for what scrolls a while after a resize
            page.wait_for_function(SETTLED, timeout=5000)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.evaluate(LOOKS)
            for line in page.evaluate(CHECK, (width > 390) == (scheme == "light")):
                found.setdefault(line, []).append(f"{scheme} {width}")
    return found


@pytest.mark.parametrize("name", [name for name in PAGES if name != "index.html"])
def test_no_serious_finding(page, name):
    page.goto((SITE / name).as_uri())
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.evaluate(OPEN)
    page.evaluate(page.axe)
    assert findings(page) == {}


def test_a_fault_is_found(page):
    """That the pages pass says something only if a faint text by night, and a nameless button, do not."""
    style = "@media (prefers-color-scheme: dark) { body { background: #000 } p { color: #333 } }"
    page.set_content(f"<html lang=en><title>t</title><style>{style}</style><main><p>faint</p><button></button></main>")
    page.evaluate(page.axe)
    found = findings(page)
    assert found['color-contrast: <p data-look="">faint</p>'] == ["dark 1280", "dark 390"]
    assert found["button-name: <button></button>"] == ["light 1280", "dark 390"]
