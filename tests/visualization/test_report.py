"""The report: whole in one file, escaped, with and without labels."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from matplotlib.image import imread

from evaluation.evaluate import Threshold, ablate, evaluate
from evaluation.scored_cubes import ScoredCubes
from evaluation.scores import error_statistics, score_rules
from evaluation.smoothing import Smoothing
from utils.config.hf2vad import EvalConfig
from utils.console import duration
from visualization import plots
from visualization.gallery import Gallery, choose_highlights, make_gallery
from visualization.report import (
    clock,
    curve_pictures,
    number,
    percent,
    render_report,
    time_of_day,
)
from visualization.results import json_ready, results_table
from visualization.thumbnails import cube_pictures, error_map, frame_with_box

EVIL = "<script>alert('x')</script>&\""


def fabricate(names=("01", EVIL), length=60, labelled=True):
    generator = np.random.default_rng(0)
    video = np.repeat(np.arange(len(names)), length)
    frame = np.tile(np.arange(length), len(names))
    labels = {name: (np.arange(length) // 20 == 1).astype(np.uint8) for name in names}
    abnormal = np.concatenate([labels[name] for name in names])
    errors = {
        name: generator.gamma(3, 10, len(video)) * (1 + 2 * abnormal)
        for name in ("flow_error", "frame_error", "energy")
    }
    cubes = ScoredCubes(
        list(names), [length] * len(names), video, frame,
        generator.uniform(0, 30, (len(video), 2)).repeat(2, 0).reshape(-1, 4), errors,
    )  # fmt: skip
    statistics = error_statistics({name: generator.gamma(3, 10, 90) for name in errors})
    rules = score_rules("finetune", statistics, EvalConfig(), "x.pth")
    truth = labels if labelled else None
    return evaluate(cubes, rules, Smoothing(size=5), truth, f"epoch 3 {EVIL}", 25.0)


def explain(cubes):
    generator = np.random.default_rng(1)
    shapes = {"frame_target": 3, "frame_pred": 3, "flow": 2, "flow_recon": 2}
    return {n: generator.random((len(cubes), c, 32, 32)) for n, c in shapes.items()}


def stills(wanted):
    return [(place, np.full((48, 64, 3), 90, np.uint8)) for place in sorted(wanted)]


def render(evaluation, gallery=None, ablation=()):
    highlights = choose_highlights(evaluation)
    gallery = gallery or make_gallery(evaluation, highlights, explain, stills)
    facts = {"checkpoint": EVIL, "versions": {"torch": "2", EVIL: EVIL}}
    pictures = curve_pictures(evaluation)
    return render_report(evaluation, EVIL, facts, highlights, gallery, pictures, ablation)


class Page(HTMLParser):
    """Tags, their sources and the text of a page."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.sources, self.alts, self.open, self.text = [], [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self.alts += [value for name, value in attrs if name == "alt"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_report_is_one_whole_file_with_everything_escaped():
    evaluation = fabricate()
    html = render(evaluation, ablation=ablate(evaluation))
    page = Page(html)
    assert page.open == [] and page.tags.count("html") == 1
    assert "script" not in page.tags and "link" not in page.tags and "iframe" not in page.tags
    assert EVIL not in html and EVIL in page.text  # there, but as text
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "default-src 'none'" in html and not re.search(r"url\(|https?:", html)
    assert all(page.alts) and len(page.alts) == page.tags.count("img")


def test_report_shows_numbers_with_their_protocol():
    evaluation = fabricate()
    text = Page(render(evaluation, ablation=ablate(evaluation))).text
    for name, branch in evaluation.branches.items():
        assert name in text and percent(branch.metrics["auc_micro"]) in text
    for key, value in evaluation.protocol.items():
        assert key in text and value in text
    for heading in ("Worst false alarms", "Worst misses", "What each choice", "Alarms"):
        assert heading in text
    assert "n/a" not in text


def test_pictures_in_the_report_are_pictures():
    page = Page(render(fabricate()))
    # two curves of the branches, one a video; a frame and a strip for each moment shown
    assert len(page.sources) > 2 + 2 + 2 * 4
    for source in page.sources:
        head, data = source.split(";base64,")
        starts = {"data:image/png": b"\x89PNG", "data:image/jpeg": b"\xff\xd8"}
        assert base64.b64decode(data).startswith(starts[head])


def test_without_labels_there_are_scores_and_no_metrics():
    evaluation = fabricate(labelled=False)
    page = Page(render(evaluation))
    assert "no labels" in page.text and "AUC" not in page.text
    assert "highest score first" in page.text and "peak at frame" in page.text
    assert curve_pictures(evaluation) == {}


def watched(**changes):
    """Videos without labels, and two alarms in them."""
    evaluation = fabricate(labelled=False)
    trim = evaluation.smoothing.trim
    raised = [
        {"video": EVIL, "start_frame": start, "end_frame": start + 9, "peak_frame": start + 3,
         "start_seconds": start / 25, "end_seconds": (start + 10) / 25,
         "peak_score": float(evaluation.primary.scores[1][start + 3 - trim]), "clip": clip}
        for start, clip in ((20, f"clips/{EVIL}-20.mp4"), (40, None))
    ]  # fmt: skip
    threshold = Threshold(1.5, "a test", "few")
    return replace(evaluation, raised=raised, threshold=threshold, **changes)


def test_a_report_of_watched_videos_leads_with_verdict_and_alarms():
    html = render(watched(verdict="2 alarms in 4.8 s of video", alarm_rate="2 alarms"))
    page = Page(html)
    order = ["2 alarms in 4.8 s of video.", "The highest alarms", "watch the clip", "why: ",
             "Threshold", "Videos, highest score first", "Protocol of every number"]  # fmt: skip
    places = [page.text.index(words) for words in order]
    assert places == sorted(places) and "AUC" not in page.text and "0:00.8" in page.text
    links = [source for source in page.sources if not source.startswith("data:image/")]
    assert links == ["clips/%3Cscript%3Ealert%28%27x%27%29%3C/script%3E%26%22-20.mp4"] * 2
    assert EVIL not in html and page.open == [] and html.count('class="card alarm"') == 2


def test_one_video_has_no_interval_and_few_seconds_no_rate():
    evaluation = fabricate(names=("01",))
    assert "95 %" not in render(evaluation) and "95 %" not in results_table(evaluation)
    assert "an hour" not in render(evaluation) and " s of normal video" in render(evaluation)
    long = fabricate(names=("01", "02"), length=12_000)
    assert "95 % interval" in render(long) and "an hour" in render(long)
    assert "95 % interval" in results_table(long)


def test_without_pictures_the_report_still_tells_where_to_look():
    html = render(fabricate(), gallery=Gallery())
    assert "box " in html and 'class="strip"' not in html and 'class="still"' not in html


def test_one_class_only_leaves_numbers_out_but_not_the_report():
    evaluation = fabricate()
    evaluation.branches["hybrid"].metrics["auc_macro"] = float("nan")
    assert "n/a" in Page(render(evaluation)).text
    assert "n/a" in results_table(evaluation)


def test_a_report_of_107_videos_is_light(monkeypatch):
    """As many as ShanghaiTech has, as long as those are; noise is the worst picture to compress."""
    evaluation = fabricate(names=[f"{number:03d}" for number in range(107)], length=380)
    highlights = choose_highlights(evaluation)
    assert max(map(len, highlights.peaks.values())) == 2
    noise = np.random.default_rng(2).integers(0, 256, (480, 856, 3), np.uint8)
    noise[:, :428] = cv2.blur(noise[:, :428], (3, 3))  # as sharp as a photograph, and sharper

    def noisy_stills(wanted):
        return [(place, noise) for place in sorted(wanted)]

    draw, drawn = plots.video_picture, []

    def draw_few(*arguments, **named):  # drawing takes most of the time
        if len(drawn) < 4:
            drawn.append(draw(*arguments, **named))
        return max(drawn, key=len)

    monkeypatch.setattr(plots, "video_picture", draw_few)
    gallery = make_gallery(evaluation, highlights, explain, noisy_stills)
    html = render(evaluation, gallery)
    shown = 2 * 107 + len(highlights.false_alarms) + len(highlights.misses)
    assert len(highlights.all()) == shown
    assert html.count("data:image/jpeg") == html.count('class="strip"') == shown
    assert html.count('class="curve"') == 107 and 5e6 < len(html) < 20e6


def test_strips_hold_the_patches_side_by_side():
    shown = {name: values[0] for name, values in explain(np.arange(1)).items()}
    ((captions, png),) = cube_pictures(shown).strips
    names = ("true patch", "predicted", "error", "flow", "reconstructed flow")
    assert captions == tuple((name, 1) for name in names)
    assert imread(io.BytesIO(png)).shape[:2] == (32, 32 * 5)
    del shown["frame_pred"]
    ((captions, png),) = cube_pictures(shown).strips
    assert [name for name, _ in captions] == ["true patch", "flow", "reconstructed flow"]
    true_patch = imread(io.BytesIO(png))[:, :32, ::-1].transpose(2, 0, 1)  # RGB -> BGR
    assert true_patch == pytest.approx(shown["frame_target"], abs=0.6 / 255)


def test_the_nearest_normal_pictures_and_velocity_stand_beside_a_cube():
    shown = {name: values[0] for name, values in explain(np.arange(1)).items()}
    right, still = np.zeros(8), np.zeros(8)
    right[4] = 3.44
    shown["nearest"] = np.full((3, 32, 32, 3), 80, np.uint8)
    shown |= {"velocity": right, "nearest_velocity": still}
    shown["nearest_moving"] = np.full((32, 32, 3), 200, np.uint8)
    pictures = cube_pictures(shown)
    (_, (captions, png)) = pictures.strips
    assert captions == (("nearest normal pictures", 3), ("nearest velocity", 1))
    levels = 255 * imread(io.BytesIO(png))[0, ::32, 0]
    assert levels == pytest.approx([80, 80, 80, 200])
    assert pictures.remark == (
        "moves: right, 3.4 px a frame; nearest normal velocity: hardly at all"
    )
    evaluation = fabricate()
    gallery = Gallery(cubes={place: pictures for place in range(200)})
    page = Page(render(evaluation, gallery=gallery))
    assert pictures.remark in page.text and "nearest normal pictures" in page.text


def test_error_maps_share_one_scale():
    dark, bright = np.zeros((3, 8, 8)), np.ones((3, 8, 8))
    none, small, full = (error_map(dark, level * bright) for level in (0.0, 0.1, 0.9))
    assert none.astype(int).sum() < small.astype(int).sum() < full.astype(int).sum()


def test_boxes_are_drawn_where_they_are():
    data = frame_with_box(np.zeros((50, 100, 3), np.uint8), np.array([20, 10, 60, 40]), width=200)
    picture = imread(io.BytesIO(data), format="jpg").astype(int)
    assert picture.shape == (100, 200, 3)
    red = np.argwhere(picture[..., 0] > 120)
    assert red.min(axis=0) == pytest.approx([18, 38], abs=3)
    assert red.max(axis=0) == pytest.approx([82, 122], abs=3)
    assert imread(io.BytesIO(frame_with_box(np.zeros((9, 9, 3), np.uint8), None)), "jpg").max() < 9


@pytest.mark.parametrize("length", [1, 2, 50])
def test_curves_of_any_length_can_be_drawn(length):
    scores = np.linspace(0, 1, length)
    labels = np.zeros(length)
    labels[-1] = 1
    drawn = plots.video_picture(scores, scores, labels, 0.5, first_frame=4, marks=[4])
    assert imread(io.BytesIO(drawn)).shape[:2] == (209, 924)
    assert drawn == plots.video_picture(scores, scores, labels, 0.5, first_frame=4, marks=[4])
    assert drawn != plots.video_picture(scores, scores, None, 0.5, first_frame=4, marks=[4])


def test_numbers_are_written_for_readers():
    assert (percent(0.99312), percent(float("nan"))) == ("99.31", "n/a")
    assert (clock(7.46), clock(59.97), clock(3723.0)) == ("0:07.5", "1:00.0", "1:02:03.0")
    assert (duration(7.04), duration(59.96), duration(200), duration(7500)) == (
        "7.0 s", "1 min 0 s", "3 min 20 s", "2 h 5 min",
    )  # fmt: skip
    assert time_of_day("2026-05-04T10:21:07.120+00:00") == "2026-05-04 10:21:07 UTC"
    assert (number(0.12345), number(12345.6), number(float("nan"))) == ("0.123", "12,346", "n/a")
    assert (number(999.6), number(-999.4)) == ("1,000", "-999")
    ready = json_ready({"a": [float("nan"), np.float32(0.5), (np.int64(3),)]})
    assert ready == {"a": [None, 0.5, [3]]}
