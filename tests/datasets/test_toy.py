"""The toy scene: same seed same files, labels that fit the regions, anomalies of three kinds."""

from __future__ import annotations

import csv
import hashlib

import numpy as np
import pytest

from datasets.labels.frame_labels import load_labels
from datasets.labels.regions import read_regions
from datasets.manifest import load_dataset
from datasets.toy.people import HEIGHT, WIDTH
from datasets.toy.scene import render_street, render_video, write_toy
from datasets.toy.script import ANOMALY_KINDS, write_script
from datasets.videos import probe, read_frames
from utils.errors import UserError

SMALL = {"training_videos": 1, "testing_videos": 3, "num_frames": 60}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy"), seed=3, **SMALL)


def hashes(root) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.suffix in (".avi", ".csv")
    }


def test_the_same_seed_gives_the_same_files(toy, tmp_path):
    again = write_toy(tmp_path / "again", seed=3, **SMALL)
    other = write_toy(tmp_path / "other", seed=4, **SMALL)
    assert hashes(again.root) == hashes(toy.root)
    assert not set(hashes(other.root).values()) & set(hashes(toy.root).values())


def test_it_is_a_data_set(toy):
    loaded = load_dataset(toy.root)
    assert loaded == toy
    assert [entry.name for entry in loaded.videos("testing")] == ["01", "02", "03"]
    for entry in loaded.entries:
        info = probe(entry.source)
        assert (info.num_frames, info.width, info.height) == (60, WIDTH, HEIGHT)
        assert len(list(read_frames(entry))) == 60


def test_labels_are_where_regions_are(toy):
    labels = load_labels(toy.root)
    regions = read_regions(toy.root / "regions.csv")
    for entry in toy.videos("testing"):
        frames = {region.frame for region in regions if region.video == entry.name}
        assert set(np.flatnonzero(labels[entry.name])) == frames
        assert 0 < len(frames) < 60
    for region in regions:
        assert 0 <= region.x1 < region.x2 <= WIDTH
        assert 0 <= region.y1 < region.y2 <= HEIGHT


def test_the_kinds_take_turns(toy):
    with (toy.root / "anomalies.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["video"]: row["kind"] for row in rows} == dict(
        zip(("01", "02", "03"), ANOMALY_KINDS, strict=True)
    )
    tracks = {(r.video, r.track) for r in read_regions(toy.root / "regions.csv")}
    assert {(row["video"], int(row["track"])) for row in rows} == tracks


@pytest.mark.parametrize("kind", [None, *ANOMALY_KINDS])
@pytest.mark.parametrize("seed", range(5))
def test_people_do_not_run_into_each_other(kind, seed):
    actors = write_script(np.random.default_rng(seed), 180, kind)
    compared = 0
    for frame in range(0, 180, 7):
        poses = [(actor.look.height, actor.pose(frame)) for actor in actors]
        there = [(pose.x, pose.y, height) for height, pose in poses if pose is not None]
        for index, (x, y, _) in enumerate(there):
            for other_x, other_y, height in there[index + 1 :]:
                assert abs(x - other_x) > 20 or other_y - y > 0.75 * height
                compared += 1
    assert compared > 20


@pytest.mark.parametrize("seed", range(5))
def test_how_the_kinds_move(seed):
    rng = np.random.default_rng(seed)
    normal = write_script(rng, 180, None)
    fastest = max(abs(actor.speed) for actor in normal)
    assert min(abs(actor.speed) for actor in normal) < 2.1
    assert all(actor.bounce is None for actor in normal)
    fast = [actor for actor in write_script(rng, 180, "too_fast") if actor.kind == "too_fast"]
    assert fast and min(abs(actor.speed) for actor in fast) > 1.3 * fastest
    for kind in ("wrong_appearance", "wrong_motion"):
        odd = [actor for actor in write_script(rng, 180, kind) if actor.kind == kind]
        assert odd
        for actor in odd:
            assert abs(actor.speed) < fastest
            assert (actor.bounce is not None) == (kind == "wrong_motion")


def test_the_camera_flickers_and_is_noisy():
    rng = np.random.default_rng(0)
    street = render_street(rng)
    video = render_video(rng, street, "x", 30, None)
    corner = video.frames[:, 2:12, 2:60, 0].astype(float)
    assert 0.5 < corner.mean((1, 2)).std() < 5
    assert 0.5 < np.diff(corner, axis=0).std() < 5
    assert street[20:].std() > 4


@pytest.mark.parametrize("counts", [{"training_videos": 0}, {"num_frames": 4}])
def test_too_small_a_scene(tmp_path, counts):
    with pytest.raises(UserError, match="toy scene"):
        write_toy(tmp_path, **counts)
