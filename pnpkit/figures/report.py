"""One match on one page that needs nothing else: to be looked at, heard, and read."""

import base64
import html
import io
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor

from pnpkit.audio import players
from pnpkit.figures.plotting import STYLE, WIDTH, decibels, morlet_scalogram, plot_scalogram
from pnpkit.matching import Match
from pnpkit.matching.answer import MADE, MARGIN, NEAR, NEARNESS, NOT
from pnpkit.synth import ParameterSpace

ROWS = 96  # of a scalogram
QUIET = 1e-3  # of the peak: what comes later is not drawn
LONG = 40  # lines of history shown, at most
INK = {MADE: "made", NEAR: "near", NOT: "not"}
MEANING = (
    "Usual is the distance in Φ that a sound of this synthesiser would leave in the noise assumed; made by it: at most "
    f"{MARGIN:g} times that; near it: more, or not converged, with at least {100 * NEARNESS:g} % of Φ explained."
)
CSS = """
:root{color-scheme:light dark}
body{--ink:#1a1a1a;--soft:#555;--line:#ddd;--page:#fff;--made:#006b4e;--near:#8a5a00;--not:#a33b00;--link:#0b57d0}
@media(prefers-color-scheme:dark){
body{--ink:#e8e8e8;--soft:#aaa;--line:#444;--page:#16181b;--made:#5fd3ae;--near:#e5b05a;--not:#ff9d73;--link:#8ab4f8}}
body{font:16px/1.5 system-ui,sans-serif;max-width:760px;margin:2rem auto;padding:0 1rem}
body{color:var(--ink);background:var(--page)} a{color:var(--link)}
.made{color:var(--made)} .near{color:var(--near)} .not{color:var(--not)}
h1{font-size:1.4rem;overflow-wrap:anywhere;margin-bottom:.2rem} h2{font-size:1.1rem;margin-top:2rem}
.verdict{font-size:1.2rem;font-weight:600;margin:.2rem 0} .told{color:var(--soft);margin:0}
img{width:100%;height:auto} table{border-collapse:collapse;width:100%}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child{text-align:left} tbody th{font-weight:normal} .wide{overflow-x:auto}
.player{display:inline-block;margin:.5rem 1rem .5rem 0} audio{width:330px} details{margin-top:2rem}
"""
POLISH = {-1: "polish, in units of the noise", -2: "polish, down to the rounding"}


def report(title: str, told: str, x: Tensor, found: Match, sample_rate: int) -> str:
    """An HTML page of a match: verdict, scalograms, players, parameters with their regions, the descents.

    Args:
        title: such as the file's name.
        told: what was done to the recording before.
        x: the sound as it was matched.
        found: the answer.
        sample_rate: of both, Hz.
    """
    sounds = {"Target": x, f"Match, by {'Φ' if found.finish == 'phi' else 'the waveform'}": found.resynthesis}
    light, dark = (base64.b64encode(png).decode("ascii") for png in _scalograms(sounds, sample_rate))
    heard = {name: sound[: _extent(x, found.resynthesis)] for name, sound in sounds.items()}
    parts = [
        f'<p class="verdict {INK[found.verdict]}">{html.escape(_capital(found.sentence()))}</p>',
        f'<p class="told">{MEANING}</p>',
        f'<p class="told">{html.escape(_capital(told))}.</p>',
        f'<picture><source media="(prefers-color-scheme:dark)" srcset="data:image/png;base64,{dark}">',
        f'<img alt="Scalograms of target and match, one colour scale" src="data:image/png;base64,{light}"></picture>',
        players(heard, sample_rate)._repr_html_(),
        "<h2>Parameters</h2>",
        _table(("parameter", "value", "unit", "95 % region", "range"), _parameters(found)),
        "<h2>The match</h2>",
        _table(("quantity", "value"), _facts(found)),
        "<details><summary>The descents</summary>",
        _history(found),
        "</details>",
    ]
    return _document(title, parts)


def index(space: ParameterSpace, rows: Iterable[tuple[Mapping[str, Any], Path | None]]) -> str:
    """An HTML page of many matches, each with a link to its own.

    Args:
        space: of the parameters.
        rows: of the table of matches, each with its page, if there is one.
    """
    header = ("file", "verdict", "distance", *(f"{p.name} ({p.unit})".removesuffix(" (1)") for p in space.parameters))
    lines = []
    for row, page in rows:
        numbers = [row[name] for name in ("distance", *space.names)]
        file = html.escape(row["file"])
        link = file if page is None else f'<a href="{quote(os.fsencode(page.name))}">{file}</a>'
        lines.append(
            (_Markup(link), row["verdict"] or row["error"], *("" if v is None else f"{v:.4g}" for v in numbers))
        )
    return _document("Matches", [f'<p class="told">{MEANING}</p>', _table(header, lines)])


def _parameters(found: Match) -> Iterable[tuple[str, ...]]:
    space, region = found.space, found.region
    ends = None if region is None else torch.stack(region.interval(), -1).tolist()
    for i, (p, value) in enumerate(zip(space.parameters, found.theta.tolist(), strict=True)):
        at = " (at its bound)" if p.at_bound(value) else ""
        for unit, scale in ((p.unit, 1.0), *([("Hz", 0.5 / math.pi)] if p.unit == "rad/s" else [])):
            none = "none: what is left over does not tell" if found.converged else "none, as not converged"
            low, high = (p.low, p.high) if ends is None else ends[i]
            where = none if ends is None else _span(low, high, scale)
            told = f"{scale * value:.{max(5, _digits(low, high))}g}{at}"
            yield p.name, told, "" if unit == "1" else unit, where, _span(p.low, p.high, scale)


def _digits(low: float, high: float) -> int:
    """How many it takes that one end is not printed as the other."""
    apart = abs(high - low) / max(abs(high), 1e-300)
    return max(4, 2 + math.ceil(-math.log10(apart))) if apart else 4


def _span(low: float, high: float, scale: float) -> str:
    digits = _digits(low, high)
    return f"{scale * low:.{digits}g} to {scale * high:.{digits}g}"


def _facts(found: Match) -> Iterable[tuple[str, str]]:
    yield "distance in Φ", f"{found.distance:.3g}, where {found.usual:.3g} is usual and {found.norm:.3g} is all"
    louder, later = "louder" if found.level >= 0 else "softer", "later" if found.delay >= 0 else "earlier"
    yield "level", f"{abs(found.level):.2f} dB {louder} than the synthesiser's own"
    yield "delay", f"{abs(1000 * found.delay):.1f} ms {later} than the synthesiser's own"
    yield "noise assumed", f"{found.noise:.2g} rms" if found.noise else "none"
    if not math.isnan(found.explained):
        yield "waveform explained", f"{100 * found.explained:.1f} % of the energy, phase free"
    if found.rival is not None:
        values = ", ".join(f"{n} = {v:.4g}" for n, v in zip(found.space.names, found.rival.tolist(), strict=True))
        yield "a rival", f"{values}, at {found.rival_distance:.3g}"
    yield "converged", "yes" if found.converged else "no: the last values reached, not an answer"
    yield "work", f"{found.jacobians} Jacobians, {found.seconds:.1f} s"


def _history(found: Match) -> str:
    table = found.history[found.history.kept.astype(bool)]
    names = ("start", "step", "distance", *found.space.names)
    starts = table.start.map(lambda start: POLISH.get(int(start), f"{start:.0f}"))
    rows = table[[*names]].map("{:.5g}".format).assign(start=starts).tail(LONG).to_numpy()
    cut = f'<p class="told">The last {LONG} of {len(table)} steps.</p>' if len(table) > LONG else ""
    return cut + _table(names, rows)


def _scalograms(sounds: dict[str, Tensor], rate: int) -> list[bytes]:
    """PNG of both, one colour scale, by day and in the dark: a pixel is what an eye at reading distance tells apart."""
    extent = _extent(*sounds.values())
    f = np.geomspace(max(30.0, 4 * rate / extent), 0.45 * rate, ROWS)
    hop = max(1, extent // 500)
    quiet = np.zeros(extent // 2)  # a scalogram takes its sound as periodic
    padded = [np.concatenate([x[:extent].numpy(force=True), quiet]) for x in sounds.values()]
    values = [morlet_scalogram(x, rate, f, hop=hop)[:, : extent // hop] for x in padded]
    top = max(v.max() for v in values)
    with plt.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.2), sharex=True, sharey=True)
        for ax, title, v in zip(axes, sounds, values, strict=True):
            shown, times = decibels(v, top), np.arange(v.shape[-1]) * hop / rate
            plot_scalogram(shown, times, f, ax, limits=(-60, 0), colourbar=False)
            ax.set_title(title)
            ax.label_outer()
        figure.colorbar(axes[0].collections[0], ax=axes, label="magnitude (dB)", pad=0.02)
        drawn = [_png(figure, ink) for ink in ("#1a1a1a", "#e8e8e8")]
        plt.close(figure)
    return drawn


def _png(figure: Figure, ink: str) -> bytes:
    """A figure on no ground, its letters and lines of one colour."""
    for text in figure.findobj(Text):
        text.set_color(ink)
    for ax in figure.axes:
        ax.tick_params(which="both", color=ink)
        for spine in ax.spines.values():
            spine.set_edgecolor(ink)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, transparent=True, metadata={"Software": None})
    return buffer.getvalue()


def _extent(*sounds: Tensor) -> int:
    """Samples until all are quiet."""
    ends = [int((x.abs() > QUIET * x.abs().max()).nonzero().max()) for x in sounds]
    return min(len(sounds[0]), max(2048, round(1.1 * max(ends))))


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(h)}</th>' for h in header)
    body = ""
    for first, *rest in rows:
        told = first if isinstance(first, _Markup) else html.escape(first)
        body += f'<tr><th scope="row">{told}</th>' + "".join(f"<td>{html.escape(c)}</td>" for c in rest) + "</tr>"
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0">{whole}</div>'  # which scrolls on a phone, by the keyboard too


class _Markup(str):
    """HTML, and no text to be escaped."""


def _document(title: str, parts: Iterable[str]) -> str:
    name, body = html.escape(title), "".join(parts)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title>'
    head += f"<style>{CSS}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{name}</h1>{body}</body></html>\n'


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
