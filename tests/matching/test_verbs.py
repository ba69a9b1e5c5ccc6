"""``pnpkit match``, ``transform`` and ``morph`` as their users meet them: files in, files and lines out."""

import contextlib
import io
import json
import math
import os
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import soundfile
import soxr
import torch
from bell import Bell, Square, drawn, phi
from distributed import LocalCluster

from pnpkit import cli_matching, match_file, matching
from pnpkit.experiment import match_table, matches
from pnpkit.experiment.config import GridConfig
from pnpkit.experiment.precompute import atlases
from pnpkit.experiment.precompute.atlases import (
    CHUNK,
    PACKAGED,
    AtlasConfig,
    atlas_config,
    atlas_sounds,
    find_atlas,
    made_atlas,
    store_atlas,
)
from pnpkit.experiment.problem import get_problem
from pnpkit.matching import Atlas, Match, atlas, match
from pnpkit.matching.atlas import fingerprint
from pnpkit.matching.recording import fitted
from pnpkit.matching.stored import read_arrays
from pnpkit.synth import Arpeggio, Parameter, ParameterSpace, RectangularDrum

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "data"
BELL = f"{HERE / 'bell.py'}:SYSTEM"
THETA = drawn(1, seed=3)[0]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(verb, monkeypatch, cache):
    """``pnpkit`` with the cache of this module, its atlases small."""
    monkeypatch.setenv("PNPKIT_DATA", str(DATA))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(atlases, "ENOUGH", 150)
    return verb


def bell(path, theta=THETA):
    soundfile.write(os.fsencode(path), Bell()(theta).numpy(), 4096, subtype="FLOAT", format="WAV")
    return path


def elsewhere(path, x, rate):
    """At 44.1 kHz, in two channels, with 0.7 s of silence in front."""
    x = torch.from_numpy(soxr.resample(0.5 * x.double().numpy(), rate, 44100))
    x = torch.cat([torch.zeros(30870, dtype=x.dtype), x])
    soundfile.write(path, torch.stack([x, 0.6 * x], -1).numpy(), 44100, subtype="PCM_24")
    return path


def test_a_sound_of_another_rate_two_channels_and_later_is_found(run, tmp_path):
    code, out, _ = run("match", elsewhere(tmp_path / "b.wav", Bell()(THETA), 4096), "--synth", BELL, "--json")
    row = json.loads(out)
    assert code == 0
    assert row["distance"] < 1
    assert [row["f"], row["tau"]] == pytest.approx(THETA.tolist(), rel=0.01)
    assert row["left"] == 0
    assert "44100 Hz brought to 4096" in row["told"]


def test_so_is_an_arpeggio(run, tmp_path):
    g, theta = Arpeggio(), torch.tensor([700.0, 7.0, 1.7], dtype=torch.float64)
    code, out, _ = run("match", elsewhere(tmp_path / "a.wav", g(theta), 8192), "--json")
    row = json.loads(out)
    assert code == 0
    assert row["distance"] < 1
    assert [row[n] for n in g.parameters.names] == pytest.approx(theta.tolist(), rel=0.01)


def test_a_folder_survives_what_cannot_be_read_and_goes_on_where_it_was(run, tmp_path):
    sounds, out = tmp_path / "sounds", tmp_path / "out"
    (sounds / "more").mkdir(parents=True)
    bell(sounds / "a.wav")
    bell(sounds / "more" / "b.wav", drawn(2, seed=4)[1])
    (sounds / "bad.wav").write_text("not a sound")
    code, said, error = run("match", sounds, "--synth", BELL, "--out", out)
    assert code == 3
    index = (out / "index.html").read_text(encoding="utf-8")
    assert {out / href for href in re.findall('href="(.*?)"', index)} == set(out.glob("*.wav.html"))
    assert "bad.wav" in index
    assert [line.split(":")[0] for line in said.splitlines()] == [str(sounds / "a.wav"), str(sounds / "more" / "b.wav")]
    assert f"{sounds / 'bad.wav'} is no sound" in error
    table = pd.read_csv(out / "matches.csv", index_col="file")
    assert set(match_table.COLUMNS) < {"file", *table.columns}
    assert table.error.notna().tolist() == [False, True, False]
    assert table.loc[str(sounds / "a.wav"), ["f", "tau"]].tolist() == pytest.approx(THETA.tolist(), rel=0.01)
    assert (table.f_low <= table.f)[table.error.isna()].all()
    page = (out / "a.wav.html").read_text(encoding="utf-8")
    assert page.count("data:audio/wav") == 2
    assert "http" not in page  # nothing is fetched
    saved = Match.load(out / "a.wav.npz")
    assert saved.verdict in page.lower()

    times = {p: p.stat().st_mtime_ns for p in out.glob("*.npz")}
    bell(sounds / "more" / "b.wav")  # other bytes
    (sounds / "a.wav").touch()  # the same bytes
    with (out / "matches.csv").open("a") as file:
        file.write("1,cut off in the mid")
    code, said, error = run("match", sounds, "--synth", BELL, "--out", out)
    assert code == 3
    assert "1 of 3 were matched before" in error
    assert {p.name for p in times if p.stat().st_mtime_ns != times[p]} == {"b.wav.npz"}
    (out / "a.wav.html").unlink()
    (out / "b.wav.npz").unlink()
    assert run("match", sounds, "--synth", BELL, "--out", out)[0] == 3
    assert (out / "a.wav.html").is_file()
    assert (out / "b.wav.npz").is_file()
    again = pd.read_csv(out / "matches.csv", index_col="file")
    assert len(again) == 3
    assert again.loc[str(sounds / "more" / "b.wav"), "f"] == pytest.approx(float(THETA[0]), rel=0.01)


def test_every_column_of_a_row_is_documented(run, tmp_path):
    told = {line.split("\t")[0] for line in run("match", "--columns")[1].splitlines()}
    row = json.loads(run("match", bell(tmp_path / "a.wav"), "--synth", BELL, "--json")[1])
    ends = {name.removeprefix("NAME") for name in told if name.startswith("NAME")}
    assert set(row) - {f"{n}{end}" for n in ("f", "tau") for end in ends} <= told
    assert {f"{n}{end}" for n in ("f", "tau") for end in ends} <= set(row)


def test_one_that_cannot_be_read_fails_alone_and_a_folder_of_it_in_part(run, tmp_path):
    (tmp_path / "bad.wav").write_text("not a sound")
    assert run("match", tmp_path / "bad.wav", "--synth", BELL)[0] == 1
    code, out, _ = run("match", tmp_path, "--synth", BELL, "--json")
    assert code == 3
    row = json.loads(out)
    assert list(row) == match_table.columns_of(Bell.parameters)
    assert [k for k, v in row.items() if v is not None] == ["schema", "file", "digest", "options", "error"]


def test_memory_that_runs_out_over_one_file_is_said_of_it_and_the_others_go_on(run, tmp_path, monkeypatch):
    def hungry(source, config):
        if source.endswith("a.wav"):
            raise MemoryError
        return original(source, config)

    original = matches.match_as
    monkeypatch.setattr(matches, "match_as", hungry)
    files = [bell(tmp_path / f"{name}.wav") for name in "ab"]
    code, out, error = run("match", *files, "--synth", BELL)
    assert code == 3
    assert f"{files[0]}: there is not enough memory" in error
    assert out.startswith(f"{files[1]}: made by it")


def test_rows_that_were_there_are_told_again_as_they_were(run, tmp_path):
    files = [bell(tmp_path / "a.wav"), tmp_path / "none.wav"]
    first = run("match", *files, "--synth", BELL, "--json", "--out", tmp_path / "out")[1].splitlines()
    again = run("match", *files, "--synth", BELL, "--json", "--out", tmp_path / "out")[1].splitlines()
    assert [json.loads(line) for line in again] == [json.loads(line) for line in first]


def answered(config=None):
    """A sound of the bell, its match, and how it was matched."""
    config = config or matches.MatchConfig(atlas_config(BELL))
    g, descriptor, _ = matches.instrument(config.atlas)
    sound = fitted(g(THETA), g.sample_rate, g)
    options = {"starts": THETA, "noise": None, "level": "known", "delay": "known"}
    return config, match(sound.x, g.sample_rate, g, descriptor, **options), sound


def test_a_row_of_no_answer_says_so_where_one_looks_and_names_the_rival(run):
    config, found, sound = answered()
    sure = match_table.row("x.wav", config, found, sound)
    assert (sure["verdict"], sure["rival_distance"], sure["f_rival"]) == (found.verdict, None, None)
    rival = {"rival": 1.5 * found.theta, "rival_distance": 2.5}
    row = match_table.row("x.wav", config, replace(found, converged=False, region=None, **rival), sound)
    assert row["verdict"] == "near it, not converged"
    assert [row["f_rival"], row["tau_rival"], row["rival_distance"]] == [*(1.5 * found.theta).tolist(), 2.5]
    assert list(row) == list(sure) == match_table.columns_of(Bell.parameters)
    assert match_table.typed({k: "" if v is None else str(v) for k, v in row.items()}) == row


def test_a_value_is_told_to_the_digits_that_its_region_leaves_and_an_angular_frequency_in_hertz(run, capsys):
    config, found, sound = answered()
    row = match_table.row("x.wav", config, found, sound) | {"f": 512.345678, "f_low": 512.34, "f_high": 512.36}
    row |= {"tau_low": None, "tau_high": None, "tau": 0.05}
    cli_matching._say(row, config, as_json=False)
    assert "; f 512.3457 ± 0.01 Hz, tau 0.05 s; " in capsys.readouterr().out
    omega = Parameter("omega", "ω", "rad/s", 1.0, 9999.0)
    told = cli_matching._value(omega, {"omega": 200 * math.pi, "omega_low": 620.0, "omega_high": 640.0})
    assert told == "omega 628.3 ± 10 rad/s (100 Hz)"
    told = cli_matching._value(omega, {"omega": 200 * math.pi, "omega_low": 400.0, "omega_high": 9999.0})
    assert told == "omega 628.3 (400 to 9999) rad/s (100 Hz)"
    told = cli_matching._value(omega, {"omega": 9999.0, "omega_low": None, "omega_high": None})
    assert told == "omega 9999 rad/s (1591 Hz) (at its bound)"


def test_what_the_synthesiser_did_not_make_is_warned_of_where_it_goes_on(run, tmp_path):
    _, found, _ = answered()
    for name, changed in (("made", {}), ("not", {"distance": found.norm}), ("vague", {"converged": False})):
        replace(found, **changed).save(tmp_path / f"{name}.npz")
        code, _, error = run("transform", tmp_path / f"{name}.npz", "--out", tmp_path / "y.wav", "--synth", BELL)
        assert code == 0
        assert (f"warning: what is made is not of {tmp_path / name}.npz" in error) == (name != "made")


def test_an_atlas_that_is_made_first_is_announced_with_its_size_and_place(run, tmp_path, monkeypatch, caplog):
    def stop(path, config, *_of, again):
        assert f"an atlas of {len(atlas_sounds(config.grid, config.every))} sounds" in caplog.text
        assert str(path) in caplog.text
        raise ValueError("enough")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(atlases, "store_atlas", stop)
    with pytest.raises(ValueError, match="enough"):
        find_atlas(atlas_config(BELL))


@pytest.mark.slow
def test_a_scheduler_s_workers_say_the_same_and_the_bar_counts_from_the_start(run, tmp_path, monkeypatch):
    files = [bell(tmp_path / "a.wav"), bell(tmp_path / "b.wav", drawn(2, seed=4)[1]), tmp_path / "none.wav"]
    alone = run("match", *files, "--synth", BELL, "--json")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    monkeypatch.setenv("COLUMNS", "100")
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        there = run("match", *files, "--synth", BELL, "--json", "--scheduler", cluster.scheduler_address)
    assert alone[0] == there[0] == 3
    rows = [{r["file"]: r | {"seconds": 0} for r in map(json.loads, said[1].splitlines())} for said in (alone, there)]
    assert rows[0] == rows[1]
    counted = re.findall(r"matching .*?(\d)/3", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", there[2]))
    assert (counted[0], counted[-1]) == ("0", "3")


def test_processes_say_the_same(run, tmp_path):
    files = [bell(tmp_path / "a.wav"), tmp_path / "none.wav"]
    alone = run("match", *files, "--synth", BELL, "--json")
    both = run("match", *files, "--synth", BELL, "--json", "--jobs", 2)
    assert alone[0] == both[0] == 3
    rows = [{r["file"]: r | {"seconds": 0} for r in map(json.loads, said[1].splitlines())} for said in (alone, both)]
    assert rows[0] == rows[1]


def test_standard_input_is_read_here_whoever_does_the_rest(run, tmp_path, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(bell(tmp_path / "x.wav").read_bytes())

    monkeypatch.setattr("sys.stdin", Stdin)
    code, out, _ = run("match", "-", tmp_path / "x.wav", "--synth", BELL, "--json", "--jobs", 2)
    assert code == 0
    f = [json.loads(line)["f"] for line in out.splitlines()]
    assert f == pytest.approx([float(THETA[0])] * 2, rel=0.01)


def test_files_of_one_name_keep_a_report_each_and_any_name_will_do(run, tmp_path):
    names = ["kicks/01.wav", "snares/01.wav", os.fsdecode(b"caf\xe9.wav"), 60 * "キ" + ".wav"]
    for k, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        bell(tmp_path / name, drawn(4, seed=5)[k])
        assert run("match", tmp_path / name, "--synth", BELL, "--out", tmp_path / "out")[0] == 0
    found = sorted(float(Match.load(path).theta[0]) for path in (tmp_path / "out").glob("*.npz"))
    assert found == pytest.approx(sorted(drawn(4, seed=5)[:, 0].tolist()), rel=0.01)
    code, _, error = run("match", *(tmp_path / n for n in names), "--synth", BELL, "--out", tmp_path / "out")
    assert code == 0
    assert "4 of 4 were matched before" in error
    assert len(list((tmp_path / "out").glob("*.npz"))) == 4


def test_transformed_by_nothing_it_is_itself_and_by_something_that(run, tmp_path):
    x, file = Bell()(THETA), bell(tmp_path / "x.wav")
    code, out, error = run("transform", file, "--out", tmp_path / "y.wav", "--synth", BELL)
    y, rate = soundfile.read(tmp_path / "y.wav")
    assert (code, rate) == (0, 4096)
    assert (phi(torch.from_numpy(y)) - phi(x)).norm() < 1
    assert [line.split("\t")[1] == line.split("\t")[2] for line in out.splitlines()] == [True, True]
    assert "made by it" in error
    changes = ["--set", "tau=0.1", "--scale", "f=1.25"]
    assert run("transform", file, "--out", tmp_path / "z.wav", "--synth", BELL, *changes)[0] == 0
    code, out, _ = run("match", tmp_path / "z.wav", "--synth", BELL, "--json")
    assert [json.loads(out)[n] for n in ("f", "tau")] == pytest.approx([1.25 * float(THETA[0]), 0.1], rel=0.01)


def test_what_would_clip_is_brought_down_and_what_is_out_of_range_is_told(run, tmp_path):
    soundfile.write(tmp_path / "loud.wav", 1.6 * Bell()(THETA).numpy(), 4096, subtype="FLOAT")
    transform = ("transform", tmp_path / "loud.wav", "--synth", BELL, "--out", tmp_path / "y.wav")
    code, _, error = run(*transform, "--set", "tau=0.2")
    assert code == 0
    assert re.search(r"y\.wav would clip: its peak is brought from 1\.\d\d to 0\.9", error)
    assert "tau = 0.2 is out of range: 0.03 to 0.15 s" in error
    assert abs(soundfile.read(tmp_path / "y.wav")[0]).max() == pytest.approx(0.9, abs=1e-3)
    code, _, error = run(*transform, "--set", "f=2048")
    assert (code, "f = 2048 is not below half the sampling rate, 2048 Hz" in error) == (2, True)


def test_a_path_that_did_not_converge_is_warned_of(run, tmp_path, monkeypatch):
    monkeypatch.setattr("pnpkit.matching.morph", partial(matching.morph, iterations=1))
    a, b = (bell(tmp_path / f"{i}.wav", theta) for i, theta in enumerate(drawn(2, seed=9)))
    code, _, error = run("morph", a, b, "--steps", 4, "--out", tmp_path, "--synth", BELL)
    assert code == 0
    assert "warning: the path did not converge" in error
    assert not pd.read_csv(tmp_path / "morph.csv").converged.any()


def test_a_morph_goes_from_one_to_the_other_in_even_steps(run, tmp_path):
    a, b = (bell(tmp_path / f"{i}.wav", theta) for i, theta in enumerate(drawn(2, seed=9)))
    code, out, _ = run("morph", a, b, "--steps", 4, "--out", tmp_path / "path", "--synth", BELL)
    assert code == 0
    assert "4 steps" in out
    table = pd.read_csv(tmp_path / "path" / "morph.csv")
    assert sorted(p.name for p in (tmp_path / "path").glob("*.wav")) == [f"{k:02d}.wav" for k in range(5)]
    theta = torch.tensor(table[["f", "tau"]].to_numpy())
    assert theta[[0, -1]].flatten().tolist() == pytest.approx(drawn(2, seed=9).flatten().tolist(), rel=0.02)
    lengths = phi(Bell()(theta)).diff(dim=0).norm(dim=-1)
    assert table.converged.all()
    assert table.length[1:].tolist() == pytest.approx(lengths.tolist(), rel=0.01)
    (tmp_path / "path" / "my own.wav").touch()
    assert run("morph", a, b, "--steps", 2, "--out", tmp_path / "path", "--synth", BELL)[0] == 0
    assert sorted(p.name for p in (tmp_path / "path").glob("*.wav")) == ["00.wav", "01.wav", "02.wav", "my own.wav"]
    (tmp_path / "path" / "02.wav").unlink()
    (tmp_path / "path" / "02.wav").mkdir()
    code, _, error = run("morph", a, b, "--steps", 2, "--out", tmp_path / "path", "--synth", BELL)
    assert (code, "02.wav cannot be written" in error) == (1, True)
    assert not (tmp_path / "path" / "morph.csv").exists()  # which would speak of other sounds than lie there


def test_of_a_folder_what_is_hidden_or_no_file_is_no_sound_and_each_comes_once(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / ".trash").mkdir()
    for name in ("b.wav", "a.flac", ".hidden.wav", "._b.wav", "notes.txt", ".trash/c.wav"):
        (tmp_path / name).touch()
    whole = [str(tmp_path / n) for n in ("a.flac", "b.wav")]
    assert matches.sounds_in([str(tmp_path)]) == whole
    assert matches.sounds_in([*whole, str(tmp_path / "folder.wav" / ".." / "b.wav"), str(tmp_path)]) == whole


def test_a_row_is_of_a_path_whatever_it_was_called_by_and_keeps_the_name_of_its_page(run, tmp_path, monkeypatch):
    for folder in ("kicks", "snares"):
        (tmp_path / folder).mkdir()
        bell(tmp_path / folder / "01.wav")
    out = tmp_path / "out"
    assert run("match", tmp_path / "kicks" / "01.wav", "--synth", BELL, "--out", out)[0] == 0
    assert run("match", tmp_path / "snares" / "01.wav", "--synth", BELL, "--out", out)[0] == 0
    monkeypatch.chdir(tmp_path / "kicks")
    for name in ("01.wav", "./01.wav", "../kicks/01.wav"):
        assert "1 of 1 were matched before" in run("match", name, "--synth", BELL, "--out", out)[2]
    table = pd.read_csv(out / "matches.csv", index_col="path")
    assert list(table.index) == ["../kicks/01.wav", "../snares/01.wav"]
    assert table.name["../kicks/01.wav"] == "01.wav"
    assert {f"{name}.html" for name in table.name} | {"index.html"} == {p.name for p in out.glob("*.html")}
    linked = re.findall('href="(.*?)"', (out / "index.html").read_text(encoding="utf-8"))
    assert linked == [f"{name}.html" for name in table.name]


def test_the_packaged_atlas_is_found_in_any_folder_with_the_same_options(monkeypatch, tmp_path):
    monkeypatch.delenv("PNPKIT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    for synth, sounds in (("arpeggio", 21_556), ("drum", 2570)):
        assert len(find_atlas(atlas_config(synth)).theta) == sounds
    elsewhere = match_table.config_hash(matches.MatchConfig(atlas_config("drum")))
    monkeypatch.setenv("PNPKIT_DATA", str(DATA))
    assert match_table.config_hash(matches.MatchConfig(atlas_config("drum"))) == elsewhere


def test_a_saved_match_says_whose_it_is_and_another_synthesiser_refuses_it(run, tmp_path):
    bell(tmp_path / "x.wav")
    assert run("match", tmp_path / "x.wav", "--synth", BELL, "--out", tmp_path / "out")[0] == 0
    saved = tmp_path / "out" / "x.wav.npz"
    assert Match.load(str(saved)).synth == BELL
    code, said, _ = run("transform", saved, "--out", tmp_path / "y.wav")
    assert (code, [line.split("\t")[0] for line in said.splitlines()]) == (0, ["f", "tau"])
    code, _, error = run("transform", saved, "--out", tmp_path / "y.wav", "--synth", "drum")
    assert code == 1
    assert f"{saved}: the match is of another synthesiser: of f, tau, not of omega" in error
    with pytest.raises(ValueError, match=r"of a .*SYSTEM whose sounds are not those of this Bell"):
        Match.load(saved).check(Bell(warp=0.3))
    theta, old = torch.tensor([300.0, 0.1, 0.05, 0.05, 0.7], dtype=torch.float64), "drum --variant diagonal"
    g = RectangularDrum(diagonal=True)
    drum = replace(answered()[1], theta=theta, space=g.parameters, synth=old, fingerprint=fingerprint(g))
    drum.save(tmp_path / "d.npz")
    assert run("transform", tmp_path / "d.npz", "--out", tmp_path / "y.wav")[0] == 0
    code, _, error = run("transform", tmp_path / "d.npz", "--out", tmp_path / "y.wav", "--synth", "drum")
    assert code == 1
    assert f"of a {old} whose sounds are not those of this RectangularDrum" in error


def test_what_is_made_lies_where_the_recording_has_it_and_is_not_silent(run, tmp_path):
    late = elsewhere(tmp_path / "late.wav", Bell()(THETA), 4096)
    assert run("transform", late, "--out", tmp_path / "y.wav", "--synth", BELL, "--finish", "waveform")[0] == 0
    y, rate = soundfile.read(tmp_path / "y.wav")
    x = soxr.resample(soundfile.read(late)[0].mean(1), 44100, rate)
    assert abs(y[: len(x)] - x[: len(y)]).max() < 0.05 * abs(x).max()
    code, _, error = run("transform", late, "--out", tmp_path / "z.wav", "--synth", BELL, "--set", "f=0")
    assert code == 1
    assert "f = 0, tau = " in error
    assert "is silent or not finite" in error
    assert not (tmp_path / "z.wav").exists()


def test_a_sound_that_is_read_is_not_written_over(run, tmp_path):
    (tmp_path / "path").mkdir()
    for arguments in (("transform", "00.wav", "--out", "../path/00.wav"), ("morph", "x.wav", "00.wav", "--out", ".")):
        files = [bell(tmp_path / "path" / name) for name in ("00.wav", "x.wav")]
        before = [file.read_bytes() for file in files]
        with contextlib.chdir(tmp_path / "path"):
            code, _, error = run(*arguments, "--synth", BELL)
        assert code == 1
        assert error.endswith("00.wav is what is read: choose another --out\n")
        assert [file.read_bytes() for file in files] == before
    last = bell(tmp_path / "path" / "09.wav")  # of a longer morph, which a shorter one takes away
    (tmp_path / "path" / "morph.csv").touch()
    code, _, error = run("morph", last, files[0], "--steps", 2, "--out", tmp_path / "path", "--synth", BELL)
    assert (code, last.exists()) == (1, True)
    assert error.endswith("09.wav is what is read: choose another --out\n")


def test_files_are_looked_at_before_any_is_matched(run, tmp_path, monkeypatch):
    monkeypatch.setattr(matches, "instrument", lambda *_: pytest.fail("no work before the refusal"))
    assert run("match", tmp_path / "none.wav", "--synth", BELL)[0] == 1
    (tmp_path / "none.wav").write_text("no sound")
    code, _, error = run("morph", bell(tmp_path / "x.wav"), tmp_path / "none.wav", "--out", tmp_path, "--synth", BELL)
    assert (code, "none.wav is no sound that can be read" in error) == (1, True)


def test_a_sound_too_soft_for_its_bits_is_refused(run, tmp_path):
    faint = (8 * Bell()(THETA)).round().to(torch.int16)
    soundfile.write(tmp_path / "x.wav", faint.numpy(), 4096)
    code, _, error = run("match", tmp_path / "x.wav", "--synth", BELL)
    assert code == 1
    assert "x.wav is too soft for the steps of its samples, 3.1e-05: they move it by" in error


def test_a_sound_that_is_flat_by_nature_is_no_clipped_one(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "x.wav", Square()(THETA).numpy(), 4096, subtype="FLOAT")
    for g in (Square(), Bell()):
        known = g, phi, Atlas.build(g, phi, drawn(60))
        monkeypatch.setattr(matches, "instrument", lambda config, known=known: known)
        if isinstance(g, Square):
            assert match_file(tmp_path / "x.wav", BELL).share > 0.9
        else:
            with pytest.raises(ValueError, match=r"^\S+x\.wav is clipped"):
                match_file(tmp_path / "x.wav", BELL)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"finish": "wave"}, "^unknown finish 'wave'"),
        ({"steps": -1}, "^steps must be at least 0"),
        ({"n_starts": 0}, "^n_starts must be at least 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_an_option_is_looked_at_before_the_file(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        match_file(tmp_path / "absent.wav", BELL, **option)


@pytest.mark.parametrize("how", [torch.round, torch.floor, torch.trunc])
@pytest.mark.parametrize("soft", [1.0, 0.1, 0.01])
def test_16_bits_do_not_unmake_a_sound(run, tmp_path, soft, how):
    whole = how(32767 * soft * Bell()(THETA)).to(torch.int16)
    soundfile.write(tmp_path / "x.wav", whole.numpy(), 4096)
    found = match_file(tmp_path / "x.wav", BELL)
    assert found.verdict == "made by it"
    assert soft > 0.01 or found.distance > 2 * found.norm * 0.004  # and without the bits it would not be
    low, high = found.region.interval()
    assert ((low < THETA) & (high > THETA) & (high - low < 0.15 * THETA)).all()
    assert found.region.contains(THETA)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("match", "none.wav"), 1, "none.wav: there is no such file"),
        (("match", "x.wav", "--synth", "bassoon"), 2, "unknown synthesiser 'bassoon'"),
        (("match", "x.wav", "--synth", BELL, "--finish", "ear"), 2, "unknown finish 'ear'; valid ones: phi, waveform"),
        (("match", "."), 1, ". holds no sound"),
        (("transform", "x.wav", "--out", "y.wav", "--synth", BELL, "--set", "g=2"), 2, "unknown parameter 'g'"),
        (
            ("transform", "x.wav", "--out", "y.wav", "--synth", BELL, "--scale", "f=two"),
            2,
            "'f=two' must be NAME=NUMBER",
        ),
        (("transform", "x.wav", "--out", "y.wav", "--synth", BELL, "--set", "f=nan"), 2, "'f=nan' must be NAME=NUMBER"),
        (("transform", "x.wav", "--out", "y.mp3", "--synth", BELL), 2, "y.mp3 must end in .wav"),
        (("synth", "400", "0.1", "--out", "y.flac", "--synth", BELL), 2, "y.flac must end in .wav"),
        (("synth", "0", "0.1", "--out", "y.wav", "--synth", BELL), 1, "the synthesiser's sound is silent or not"),
        (("transform", "none.wav", "--out", "y.wav", "--synth", BELL), 1, "none.wav: there is no such file"),
        (("morph", "x.npz", "x.npz", "--out", "y", "--synth", BELL), 1, "x.npz"),
        (("transform", "x.npz", "--out", "y.wav", "--synth", BELL), 1, "x.npz"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    ended, _, error = run(*arguments)
    assert ended == code
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("taken", ["level", "f_low", "step"])
def test_a_parameter_called_like_a_column_is_named_before_any_work(taken):
    space = ParameterSpace(tuple(Parameter(name, name, "1", 1.0, 2.0, "log") for name in ("f", taken)))
    with pytest.raises(ValueError, match=f"like a column of the matches or of their history, {taken}:"):
        match_table.columns_of(space)


def test_the_atlas_of_another_synthesiser_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path))
    (tmp_path / "atlases").mkdir()
    shutil.copy(PACKAGED / "drum.npz", tmp_path / "atlases" / "arpeggio.npz")
    with pytest.raises(ValueError, match=r"arpeggio\.npz: the atlas is of another synthesiser"):
        find_atlas(atlas_config("arpeggio"))


def test_an_atlas_that_was_made_is_where_matching_starts(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path))
    code, out, _ = run("metrics", "--profile", "smoke", "--atlas", 40, "--workers", 1, "--out", tmp_path)
    assert (code, out) == (0, f"an atlas at {tmp_path / 'atlases' / 'arpeggio.npz'}\n")
    config = atlas_config("arpeggio")
    assert (config.grid.n_steps, config.every) == (6, 40)
    assert torch.equal(find_atlas(config).theta, atlas_sounds(config.grid, config.every).float())


def test_an_atlas_that_was_interrupted_goes_on_to_the_same_bits(run, tmp_path, monkeypatch):
    config = AtlasConfig(GridConfig(BELL, n_steps=10), every=1, components=4)
    chunks, told = -(-len(atlas_sounds(config.grid, 1)) // CHUNK), []

    def hear(*of_all, unchanged=atlas.heard):
        if len(listened) == stop_at:
            raise KeyboardInterrupt
        listened.append(len(of_all[-1]))
        return unchanged(*of_all)

    monkeypatch.setattr(atlas, "heard", hear)
    stop_at, listened = None, []
    store_atlas(tmp_path / "at-once.npz", config)
    assert len(listened) == chunks > 3
    stop_at, listened = 2, []
    with pytest.raises(KeyboardInterrupt):
        store_atlas(tmp_path / "atlas.npz", config)
    stop_at, listened = None, []
    part = next(tmp_path.glob(".atlas-*.partial/0-1.npz"))
    part.write_bytes(part.read_bytes()[:-20])
    store_atlas(tmp_path / "atlas.npz", config, progress=lambda *count: told.append(count))
    assert len(listened) == chunks - 1
    assert [done for _, done, _ in told][:2] == [CHUNK, 2 * CHUNK]
    once, resumed = (read_arrays(tmp_path / f"{name}.npz", "atlas") for name in ("at-once", "atlas"))
    assert all(torch.as_tensor(once[k] == resumed[k]).all() for k in once)
    assert not list(tmp_path.glob(".atlas-*"))


def test_the_atlas_of_a_variant_lies_beside_that_of_the_first(monkeypatch):
    monkeypatch.setenv("PNPKIT_DATA", str(DATA))
    for synth, variant in (("arpeggio", "paper"), ("drum", "diagonal")):
        config = atlas_config(synth, variant)
        assert config.grid.variant == variant
        assert made_atlas(config.grid).name == f"{synth}-{variant}.npz"
        assert made_atlas(atlas_config(synth).grid).is_file()


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"config": {}}'])
def test_the_record_of_an_atlas_is_named_where_it_is_damaged(tmp_path, monkeypatch, content):
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path))
    (tmp_path / "atlases").mkdir()
    (tmp_path / "atlases" / "drum.json").write_text(content)
    with pytest.raises(ValueError, match=r"drum\.json"):
        atlas_config("drum")


def test_an_atlas_that_was_changed_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PNPKIT_DATA", str(tmp_path))
    shutil.copytree(PACKAGED, tmp_path / "atlases")
    shutil.copy(tmp_path / "atlases" / "arpeggio.npz", tmp_path / "atlases" / "drum.npz")
    with pytest.raises(ValueError, match=r"drum\.npz is not the file that drum\.json speaks of"):
        find_atlas(atlas_config("drum"))


@pytest.mark.parametrize("name", ["arpeggio", "drum"])
def test_no_sound_that_is_scored_is_in_an_atlas(name):
    """Of what is shipped: every sound is one of the train fold, hence none of validation or test."""
    atlas = Atlas.load(PACKAGED / f"{name}.npz")
    problem = get_problem(atlas_config(name).grid)
    held, table = {tuple(t) for t in atlas.theta.tolist()}, problem.table
    names = list(problem.space.names)
    own = {tuple(t) for t in torch.tensor(table[table.fold == "train"][names].to_numpy()).float().tolist()}
    scored = {tuple(t) for t in torch.tensor(table[table.fold != "train"][names].to_numpy()).float().tolist()}
    assert len(held) == len(atlas.theta) > 2000
    assert held <= own
    assert not held & scored
    atlas.check(problem.synth)
    assert (PACKAGED / f"{name}.npz").stat().st_size < 8 * 2**20
