"""One match on one page that needs nothing else: to be looked at, heard, and read."""

import base64
import html
import io
import math
from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from pnpkit.audio import players
from pnpkit.figures.plotting import STYLE, WIDTH, decibels, morlet_scalogram, plot_scalogram
from pnpkit.matching import Match

ROWS = 96  # of a scalogram
QUIET = 1e-3  # of the peak: what comes later is not drawn
LONG = 40  # lines of history shown, at most
INK = {"made by it": "#006b4e", "near it": "#8a5a00", "not made by it": "#a33b00"}
CSS = """
body{font:16px/1.5 system-ui,sans-serif;max-width:760px;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.4rem;overflow-wrap:anywhere;margin-bottom:.2rem} h2{font-size:1.1rem;margin-top:2rem}
.verdict{font-size:1.2rem;font-weight:600;margin:.2rem 0} .told{color:#555;margin:0}
img{width:100%;height:auto} table{border-collapse:collapse;width:100%} caption{text-align:left;color:#555}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left;white-space:nowrap}
.player{display:inline-block;margin:.5rem 1rem .5rem 0} audio{width:330px} details{margin-top:2rem}
"""


def report(title: str, told: str, x: Tensor, found: Match, sample_rate: int) -> str:
    """An HTML page of a match: verdict, scalograms, players, parameters with their regions, the descents.

    Args:
        title: such as the file's name.
        told: what was done to the recording before.
        x: the sound as it was matched.
        found: the answer.
        sample_rate: of both, Hz.
    """
    sounds = {"Target": x, f"Match by {found.finish}": found.resynthesis}
    image = base64.b64encode(_scalograms(sounds, sample_rate)).decode("ascii")
    heard = {name: sound[: _extent(x, found.resynthesis)] for name, sound in sounds.items()}
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="verdict" style="color:{INK[found.verdict]}">{html.escape(_capital(found.sentence()))}</p>',
        f'<p class="told">{html.escape(_capital(told))}.</p>',
        f'<img alt="Scalograms of target and match, one colour scale" src="data:image/png;base64,{image}">',
        players(heard, sample_rate)._repr_html_(),
        "<h2>Parameters</h2>",
        _table(("", "value", "95 % region", "range", "unit"), _parameters(found)),
        "<h2>The match</h2>",
        _table(("", ""), _facts(found)),
        "<details><summary>The descents</summary>",
        _history(found),
        "</details>",
    ]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{CSS}</style></head><body>{"".join(parts)}</body></html>\n'
    )


def _parameters(found: Match) -> Iterable[tuple[str, ...]]:
    space, region = found.space, found.region
    ends = None if region is None else torch.stack(region.interval(), -1).tolist()
    for i, (p, value) in enumerate(zip(space.parameters, found.theta.tolist(), strict=True)):
        where = "none" if ends is None else f"{ends[i][0]:.4g} to {ends[i][1]:.4g}"
        at = " (at its bound)" if min(abs(value - p.low), abs(value - p.high)) <= 1e-6 * (p.high - p.low) else ""
        yield p.name, f"{value:.5g}{at}", where, f"{p.low:.4g} to {p.high:.4g}", "" if p.unit == "1" else p.unit


def _facts(found: Match) -> Iterable[tuple[str, str]]:
    yield "distance in Φ", f"{found.distance:.3g}, where {found.usual:.3g} is usual and {found.norm:.3g} is all"
    yield "level", f"{found.level:+.2f} dB"
    yield "delay", f"{1000 * found.delay:+.1f} ms"
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
    rows = [[f"{row[n]:.5g}" for n in names] for _, row in table.tail(LONG).iterrows()]
    return _table(names, rows)


def _scalograms(sounds: dict[str, Tensor], rate: int) -> bytes:
    """PNG of both, side by side, one colour scale: a pixel is what an eye at reading distance tells apart."""
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
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        plt.close(figure)
    return buffer.getvalue()


def _extent(*sounds: Tensor) -> int:
    """Samples until all are quiet."""
    ends = [int((x.abs() > QUIET * x.abs().max()).nonzero().max()) for x in sounds]
    return min(len(sounds[0]), max(2048, round(1.1 * max(ends))))


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{html.escape(h)}</th>" for h in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
