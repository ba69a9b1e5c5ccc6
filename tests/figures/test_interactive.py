"""The interactive figures, opened from the disk in a real browser, against the same numbers made in Python."""

import base64
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
import torch
import xarray

from pnpkit.audio import players
from pnpkit.figures import between, interactive
from pnpkit.synth import Arpeggio

ROOT = pathlib.Path(__file__).parents[2]
STATIC = (ROOT / "book" / "_static" / "explorer").as_uri()
FALLBACK = (
    "Without JavaScript, see the figures of chapter 5." + players({"a tone": torch.ones(8192)}, 8192)._repr_html_()
)
SILENT = "for (const name of ['AudioContext', 'webkitAudioContext']) delete window[name];"
LOSSES = {"p": "P", "pnp": "PNP", "pnp-mean": "PNP + λM̄"}
THETAS = [[712.3, 8.1, 1.7], [512, 4, 0.5], [1024, 16, 4], [700, 9, 1e-7], [640, 11, -0.8], [512, 16, 0]]


def metrics(profile):
    """θ, and M with the gain detached."""
    store = xarray.open_zarr(ROOT / "data" / profile / "metrics.zarr", consolidated=False)
    return store.theta.values, store.M.sel(gain="detached").values


@pytest.fixture(scope="module")
def grid():
    return metrics("laptop")


@pytest.fixture(scope="module")
def other():
    """Sounds between those of the grid, and their true metrics: one in 31 of the paper's."""
    theta, M = metrics("paper")
    return theta[::31], M[::31]


@pytest.fixture(scope="module")
def figures(grid, other):
    theta, M = metrics("paper")
    tables = {loss: pd.read_csv(ROOT / f"data/paper/runs/{loss}/0/predictions.csv").set_index("id") for loss in LOSSES}
    ids = next(iter(tables.values())).index.to_numpy()

    def distances(folder):
        items = pd.read_csv(ROOT / "data/paper/evaluation" / folder / "items.csv")
        return items[items.get("weights", "last") == "last"].set_index("id").jtfs.reindex(ids).to_numpy(copy=True)

    columns = ["last_f_c", "last_f_m", "last_gamma"]
    answers = {
        name: (tables[loss].loc[ids, columns].to_numpy(copy=True), distances(f"{loss}/0"))
        for loss, name in LOSSES.items()
    }
    guess, distance = answers["PNP"]
    guess[0], distance[0] = np.nan, np.nan  # a network may answer no number
    predicted = (0.01 * theta[:, 0] * np.sqrt(M[:, 0, 0])).reshape(30, 900)
    cells = predicted.argmax(0), np.arange(900)
    return {
        "explorer": interactive.explorer(*grid, between.interpolation_error(*grid, *other), FALLBACK),
        "listening": interactive.listening(theta[ids], answers, distances("train-mean"), FALLBACK),
        "atlas": interactive.atlas(
            theta.reshape(30, 900, 3)[cells], predicted[cells], FALLBACK, 0.7 * predicted[cells]
        ),
    }


@pytest.fixture(scope="module")
def site(figures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for kind, figure in figures.items():
        body = figure._repr_html_().replace(figure.static, STATIC)
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        page = f'<!doctype html><html lang="en"><head>{head}<title>{kind}</title></head><body>{body}</body></html>'
        (folder / f"{kind}.html").write_text(page)
    return folder


@pytest.fixture
def visit(opened, site):
    """Opens a figure, or another page in its place, and waits until it is ready."""

    def open_figure(kind, init=None, html=None, **options):
        path = site / f"{kind}.html"
        if html is not None:
            path = site / f"{kind}-other.html"
            path.write_text(html)
        page = opened(path, init, **{"viewport": {"width": 1280, "height": 800}, **options})
        if options.get("java_script_enabled", True):
            page.wait_for_selector(".pnp[data-ready=true], .pnp[data-ready=failed]")
        return page

    return open_figure


def test_the_waveform_is_the_synthesisers(visit):
    page = visit("atlas")
    for theta in THETAS:
        x = np.array(page.evaluate("t => Array.from(PNP.synth(t))", theta))
        np.testing.assert_allclose(x, Arpeggio()(torch.tensor(theta, dtype=torch.float64)).numpy(), atol=1e-4)


def test_the_scalogram_is_the_modulus_of_morlet_wavelets(visit):
    page = visit("atlas")
    x = Arpeggio()(torch.tensor(THETAS[0], dtype=torch.float64)).numpy()
    found = np.array(page.evaluate("x => PNP.scalogram(x).map(row => Array.from(row))", x.tolist()))
    f, bands = np.fft.fftfreq(len(x), 1 / 8192), np.array(page.evaluate("PNP.bands"))[:, None]
    wavelets = 2 * np.exp(-((f / bands - 1) ** 2) * 2 * np.log(2) * 12**2) * (f > 0)
    expected = np.abs(np.fft.ifft(np.fft.fft(x) * wavelets))[:, ::32]
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


def test_metric_and_losses_are_exact_at_the_sounds_of_the_grid(visit, grid):
    page, rng = visit("explorer"), np.random.default_rng(0)
    theta, M = grid
    for i in rng.integers(len(theta), size=40):
        guess = np.exp(rng.uniform(np.log([512, 4, 0.5]), np.log([1024, 16, 4])))
        script = """([i, g]) => { const e = PNP.explorer; e.set(e.metrics.point(i), g);
            return [e.metric.M, e.metric.exact, e.losses()]; }"""
        found, exact, (p, pnp) = page.evaluate(script, [int(i), guess.tolist()])
        d = guess - theta[i]
        assert exact
        np.testing.assert_allclose(found, M[i], rtol=1e-3, atol=1e-6 * np.abs(M[i]).max())
        np.testing.assert_allclose([p, pnp], [np.mean(d**2), d @ M[i] @ d / 2], rtol=1e-3)
        assert "exact here" in page.inner_text(".pnp")


def test_between_them_the_page_interpolates_as_python_does_and_says_how_well(visit, grid, other):
    page, (theta, M) = visit("explorer"), (other[0][:60], other[1][:60])
    found = np.array(page.evaluate("points => points.map(t => PNP.explorer.metrics.at(t).M)", theta.tolist()))
    scale = np.sqrt(np.einsum("nii,njj->nij", M, M))
    np.testing.assert_allclose(found / scale, between.interpolate(*grid, theta) / scale, rtol=1e-3, atol=1e-3)
    median, most = between.interpolation_error(*grid, *other)
    page.evaluate("PNP.explorer.set([700, 8, 1.5], [710, 9, 1.2])")
    text = page.inner_text(".pnp")
    assert "approximate" in text
    assert f"± {100 * median:.2g} %" in text
    assert f"{100 * most:.2g} %" in text


def test_interpolation_keeps_the_grid_and_beats_the_mean_of_neighbours(grid, other):
    theta, M = grid
    scale = np.sqrt(np.einsum("nii,njj->nij", M, M))
    np.testing.assert_allclose(between.interpolate(theta, M, theta) / scale, M / scale, atol=1e-4)
    points, truth = other
    found = between.interpolate(theta, M, points)
    assert (np.linalg.eigvalsh(found) > 0).all()
    np.testing.assert_allclose(between.interpolate(theta, 3 * M, points), 3 * found, rtol=1e-6)
    spans = np.log([2, 4, 8])
    near = [np.argsort((np.log(theta / p) ** 2 / spans**2).sum(1))[:8] for p in points]
    logs = M * theta[:, :, None] * theta[:, None]
    mean = np.stack([logs[i].mean(0) for i in near]) / points[:, :, None] / points[:, None]

    def error(metric):
        return np.median(np.linalg.norm((metric - truth) * points[:, :, None] * points[:, None], axis=(1, 2))
                         / np.linalg.norm(truth * points[:, :, None] * points[:, None], axis=(1, 2)))  # fmt: skip

    assert error(found) < error(mean) / 2


def test_a_slider_stays_in_its_range_and_obeys_keys(visit):
    page = visit("explorer")
    number, slider = (
        page.get_by_label("The sound: carrier f_c in Hz"),
        page.get_by_label("The sound: carrier f_c", exact=True),
    )
    for typed, kept in (("99999", 1024), ("-5", 512), ("", 512), ("600", 600)):
        number.fill(typed)
        number.press("Tab")
        assert page.evaluate("PNP.explorer.sound[0]") == kept
        assert float(number.input_value()) == kept
    slider.focus()
    slider.press("ArrowRight")
    assert 600 < page.evaluate("PNP.explorer.sound[0]") < 610
    slider.press("End")
    assert page.evaluate("PNP.explorer.sound[0]") == pytest.approx(1024)
    assert slider.get_attribute("aria-valuetext").endswith(" Hz")


@pytest.mark.parametrize("touch", [False, True])
def test_the_guess_follows_the_pointer_and_stays_in_the_box(visit, touch):
    page = visit("explorer", has_touch=touch)
    plane = page.locator(".pnp-planes canvas").nth(1)  # f_m and γ
    plane.scroll_into_view_if_needed()
    box, f_c = plane.bounding_box(), page.evaluate("PNP.explorer.guess[0]")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    if touch:
        page.touchscreen.tap(x, y)
    else:
        page.mouse.move(x + 30, y)
        page.mouse.down()
        page.mouse.move(x, y)
    assert page.evaluate("PNP.explorer.guess") == pytest.approx([f_c, 8.0, 2.0], rel=0.03)
    if not touch:
        page.mouse.move(box["x"] + 2000, box["y"] - 2000)
        page.mouse.up()
        assert page.evaluate("PNP.explorer.guess") == pytest.approx([f_c, 16.0, 4.0])


@pytest.mark.parametrize("kind", interactive.SCRIPTS)
def test_every_control_is_named_and_reached_with_a_visible_focus(visit, kind):
    page = visit(kind)
    controls = "document.querySelectorAll('.pnp :is(button, input, select, canvas[tabindex]):not(:disabled)')"
    focused = """const e = document.activeElement;
        return [e.closest('.pnp') !== null, getComputedStyle(e).outlineStyle, """
    script, reached = f"() => {{ {focused} [...{controls}].indexOf(e)]; }}", set()
    for _ in range(40):
        page.keyboard.press("Tab")
        inside, outline, place = page.evaluate(script)
        if inside:
            assert outline != "none"
            reached.add(place)
    groups = page.evaluate(f"[...{controls}].map((e, i) => e.type === 'radio' && !e.checked ? -1 : i)")
    assert reached >= set(groups) - {-1}
    named = "e => e.ariaLabel || e.textContent.trim() || e.closest('label')?.textContent.trim()"
    assert page.evaluate(f"[...{controls}].filter(e => !({named})(e)).length") == 0


@pytest.mark.parametrize("kind", interactive.SCRIPTS)
def test_a_phone_needs_no_scroll_to_the_side(visit, kind):
    page = visit(kind, viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.wait_for_selector(".pnp-plot svg text")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.querySelectorAll('.pnp-table')].every(e => e.scrollWidth <= e.clientWidth)")


@pytest.mark.parametrize("kind", interactive.SCRIPTS)
def test_data_of_another_digest_are_named_and_not_drawn(visit, site, kind):
    html = (site / f"{kind}.html").read_text()
    start = re.search(r'data-name="theta"[^>]*>', html).end()
    other = "A" if html[start + 5] != "A" else "B"
    page = visit(kind, html=html[: start + 5] + other + html[start + 6 :])
    assert "theta" in page.get_by_role("alert").inner_text()
    assert page.locator("canvas").count() == 0


@pytest.mark.parametrize("kind", interactive.SCRIPTS)
def test_without_web_audio_there_are_players_and_a_word(visit, kind):
    page = visit(kind, init=SILENT)
    assert "no Web Audio" in page.inner_text(".pnp")
    page.wait_for_function("[...document.querySelectorAll('audio')].every(a => a.src.startsWith('blob:'))")
    script = (
        "a => new Promise(done => { a.onloadedmetadata = () => done(a.duration); a.preload = 'metadata'; a.load(); })"
    )
    for player in page.locator("audio").all():
        assert player.evaluate(script) > 0.3


@pytest.mark.parametrize("kind", interactive.SCRIPTS)
def test_without_javascript_the_page_points_elsewhere_and_has_ordinary_players(visit, kind):
    page = visit(kind, java_script_enabled=False)
    assert FALLBACK.partition("<")[0] in page.inner_text("body")
    assert page.locator("audio").is_visible()
    assert visit(kind).locator(".pnp-fallback").count() == 0


def test_sounds_share_a_gain_and_begin_after_a_fifth_of_a_second(visit):
    page = visit("listening")
    a, b = (np.array(x) for x in page.evaluate(
        "([s, t]) => PNP.prepare([PNP.synth(s), PNP.synth(t)]).map(x => Array.from(x))", [[700, 8, 3.0], [700, 8, 1.0]]
    ))  # fmt: skip
    assert np.abs(a).max() == pytest.approx(0.9)
    peaks = Arpeggio()(torch.tensor([[700, 8, 3.0], [700, 8, 1.0]], dtype=torch.float64)).abs().amax(1)
    assert np.abs(b).max() == pytest.approx(float(0.9 * peaks[1] / peaks[0]))
    assert len(a) == len(b)
    start = np.argmax(np.abs(b) > 1e-3 * np.abs(b).max()) / 8192
    assert start == pytest.approx(0.2, abs=0.001)


def test_a_click_on_the_map_plays_the_target_of_what_it_chose(visit):
    page = visit("listening")
    page.get_by_label("PNP + λM̄", exact=True).check()
    canvas, was = page.locator("canvas[tabindex]"), page.evaluate("PNP.listening.state.chosen")
    for place in ({"x": 60, "y": 60}, {"x": 200, "y": 90}):  # the second while the first plays
        canvas.click(position=place)
        now = page.evaluate("PNP.listening.state.chosen")
        assert now != was
        assert page.evaluate("PNP.deck.gains.map(g => g.gain.value)") == [1] + [0] * len(LOSSES)
        assert page.get_by_label("Target", exact=True).is_checked()
        was = now
    page.keyboard.press("ArrowRight")  # walking is silent: a screen reader speaks
    assert page.evaluate("PNP.deck") is None


def test_ranges_ticks_and_rate_are_those_of_the_synthesiser(visit):
    page, g = visit("atlas"), Arpeggio()
    for p, shown in zip(g.parameters.parameters, page.evaluate("PNP.parameters"), strict=True):
        assert (shown["low"], shown["high"], shown["unit"]) == (p.low, p.high, p.unit)
        assert [shown["ticks"][0], shown["ticks"][-1]] == [p.low, p.high]
        assert len(shown["ticks"]) >= 3
    assert page.evaluate("[PNP.rate, PNP.synth([700, 8, 1]).length]") == [g.sample_rate, g.n_samples]
    assert (
        page.evaluate("PNP.parameters.map(p => p.html).join(' ')")
        == "<i>f</i><sub>c</sub> <i>f</i><sub>m</sub> <i>γ</i>"
    )


def test_target_and_answers_are_switched_without_a_gap(visit):
    page = visit("listening")
    page.get_by_role("button", name="Play in a loop").click()
    lengths = page.evaluate("PNP.deck.sources.map(s => [s.loop, s.buffer.length])")
    assert len(lengths) == 1 + len(LOSSES)
    assert len({tuple(pair) for pair in lengths}) == 1
    before = page.evaluate("PNP.deck.sources.length")
    page.get_by_label("PNP + λM̄", exact=True).check()
    page.wait_for_function("PNP.deck.gains.map(g => Math.round(g.gain.value)).join() === '0,0,0,1'")
    assert page.evaluate("PNP.deck.sources.length") == before  # the same sources, still running
    page.get_by_role("button", name="Play in a loop").click()


def test_the_map_is_walked_with_arrow_keys_and_counts_failures(visit, figures):
    page, data = visit("listening"), figures["listening"].data
    state = "PNP.listening.state"
    page.locator("canvas[tabindex]").focus()
    for key, column, sign in (("ArrowRight", 1, 1), ("ArrowUp", 2, 1), ("ArrowLeft", 1, -1), ("ArrowDown", 2, -1)):
        was = page.evaluate(f"{state}.chosen")
        page.keyboard.press(key)
        now = page.evaluate(f"{state}.chosen")
        assert sign * (data["theta"][now, column] - data["theta"][was, column]) > 0
    for k, name in enumerate(data["settings"]["names"]):
        page.get_by_role("combobox").select_option(name)
        failures = ~(np.asarray(data[f"distance{k}"]) <= data["constant"])
        assert f"({failures.sum()})" in page.get_by_role("button", name="failure").inner_text()
        page.get_by_role("button", name="failure").click()
        assert failures[page.evaluate(f"{state}.chosen")]


def test_an_answer_that_is_no_number_is_said_and_not_played(visit):
    page = visit("listening")
    page.get_by_role("combobox").select_option("PNP")
    while page.evaluate("PNP.listening.state.chosen") != 0:
        page.get_by_role("button", name="failure").click()
    assert page.get_by_label("PNP", exact=True).is_disabled()
    assert "not a number" in page.locator("tr", has_text="PNP").first.inner_text()


def test_blind_names_tell_nothing_until_revealed(visit):
    page = visit("listening")
    page.get_by_label("Blind").check()
    texts = page.locator(".pnp fieldset, .pnp table").all_inner_texts()
    assert not any(name in text for text in texts for name in LOSSES.values())
    orders = set()
    for _ in range(20):
        page.get_by_role("button", name="Median").click()
        orders.add(tuple(page.evaluate("PNP.listening.state.order")))
    assert len(orders) > 1
    page.get_by_role("button", name="Reveal").click()
    shown = page.locator("tbody th").all_inner_texts()[1:4]
    assert shown == [list(LOSSES.values())[k] for k in page.evaluate("PNP.listening.state.order")]


def test_answers_are_tallied_kept_and_cleared(visit):
    page = visit("atlas")
    for button in ("Same", "Different", "Different"):
        page.get_by_role("button", name="Hidden pair").click()
        assert page.evaluate("PNP.atlas.state.trial") is not None
        assert page.locator(".pnp-plot circle").count() == 0  # where it is, is hidden too
        page.get_by_role("button", name=button, exact=True).click()
        assert "You said" in page.get_by_role("status").inner_text()
        assert page.evaluate("document.activeElement.textContent") == "Hidden pair"  # the keyboard can go on
    tally = np.array(page.evaluate("PNP.atlas.state.tally"))
    assert tally.sum(0).tolist() == [3, 2]
    page.reload()
    page.wait_for_selector(".pnp[data-ready=true]")
    assert page.evaluate("PNP.atlas.state.tally") == tally.tolist()
    page.get_by_role("button", name="Clear my answers").click()
    assert np.sum(page.evaluate("PNP.atlas.state.tally")) == 0
    assert np.array_equal(page.evaluate("JSON.parse(localStorage['pnpkit-atlas-answers'])"), np.zeros((3, 2)))


@pytest.mark.parametrize("kept", ["no JSON", "[[1,2],[0,0],[0,0]]", "null", '{"length":3}'])
def test_a_tally_of_another_kind_is_not_believed(visit, kept):
    page = visit("atlas", init=f"localStorage.setItem('pnpkit-atlas-answers', {kept!r})")
    assert np.sum(page.evaluate("PNP.atlas.state.tally")) == 0


def test_the_figures_stay_small(figures):
    files = [*(ROOT / "book" / "_static" / "explorer").iterdir(), pathlib.Path(interactive.__file__)]
    assert sum(len(path.read_text().splitlines()) for path in files) <= 900
    assert sum(len(figure._repr_html_()) for figure in figures.values()) <= 2_000_000


def test_data_survive_the_way_into_the_page(figures):
    html = figures["atlas"]._repr_html_()
    content = re.search(r'data-name="heard"[^>]*>([^<]*)<', html).group(1)
    found = np.frombuffer(base64.b64decode(content), "<f4")
    np.testing.assert_allclose(found, figures["atlas"].data["heard"], rtol=1e-6)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="4 sounds need as many answers"):
        interactive.listening(np.ones((4, 3)), {"PNP": (np.ones((3, 3)), np.ones(4))}, np.ones(4), FALLBACK)
    with pytest.raises(ValueError, match="square"):
        interactive.atlas(np.ones((5, 3)), np.ones(5), FALLBACK, np.ones(5))
