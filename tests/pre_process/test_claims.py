"""Videos shared by claims: nobody works twice, and a killed worker's videos are done by others."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from datasets.manifest import VideoEntry
from pre_process import extract_samples
from pre_process.claims import Claims
from pre_process.parallel import run_over_videos
from pre_process.workers import Task, clear_leftovers
from tests.helpers.tiny_videos import make_dataset
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SlowJob:
    """Sleeps 10 ms a frame, then writes who did the video."""

    root: Path
    broken: str = ""

    def __call__(self) -> Task:
        def work(entry: VideoEntry, report) -> None:
            for _ in range(entry.num_frames):
                time.sleep(0.01)
                report(1)
            if entry.name == self.broken:
                raise UserError("unreadable")
            with (self.root / "log").open("a", encoding="utf-8") as handle:
                handle.write(f"{entry.name} {os.getpid()}\n")
            self.product(entry).write_text("done", encoding="utf-8")

        return work

    def product(self, entry: VideoEntry) -> Path:
        return self.root / f"{entry.name}.txt"


def videos(count: int, length: int = 10) -> list[VideoEntry]:
    numbers = range(count)
    return [VideoEntry(f"v{n}", "training", Path(), "video", 0, length, 8, 8) for n in numbers]


def log(root: Path) -> list[list[str]]:
    path = root / "log"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def write_claim(path: Path, machine: str, process: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "process": process, "beat": 3}))


def test_one_worker_gets_a_claim_and_gives_it_back(tmp_path):
    first, second = Claims(tmp_path / "c"), Claims(tmp_path / "c")
    with first.take("a") as claim:
        assert claim.is_held() and second.take("a") is None
        with second.take("b"):
            assert first.take("b") is None
    with second.take("a"):
        pass
    assert not (tmp_path / "c").exists()


def test_a_dead_workers_claim_is_taken_at_once_here_and_after_a_while_from_elsewhere(tmp_path):
    with Claims(tmp_path / "c").take("a"):
        machine = json.loads((tmp_path / "c" / "a").read_text())["machine"]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_claim(tmp_path / "c" / "a", machine, gone.pid)
    with Claims(tmp_path / "c").take("a") as claim:
        assert claim.is_held()
    write_claim(tmp_path / "c" / "a", "another machine", os.getpid())
    claims = Claims(tmp_path / "c", patience=0.3)
    assert claims.take("a") is None
    time.sleep(0.35)
    with claims.take("a") as claim:
        assert claim.is_held()


def test_signs_of_life_keep_a_claim(tmp_path):
    holder, other = Claims(tmp_path, beat=0.05), Claims(tmp_path, patience=0.3)
    with holder.take("a") as claim:
        for _ in range(8):
            assert other.take("a") is None
            time.sleep(0.1)
        assert claim.is_held()


def test_of_many_takers_of_a_left_claim_one_wins(tmp_path):
    write_claim(tmp_path / "c" / "a", "another machine", 1)
    won, start = [], threading.Barrier(8)

    def take() -> None:
        claims = Claims(tmp_path / "c", patience=0.2)
        assert claims.take("a") is None
        time.sleep(0.3)
        start.wait()
        if claims.take("a") is not None:
            won.append(claims)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_every_video_is_done_once(tmp_path, workers):
    assert run_over_videos(SlowJob(tmp_path), videos(7), workers, "test") == 70
    assert sorted(name for name, _ in log(tmp_path)) == [f"v{n}" for n in range(7)]
    assert not (tmp_path / ".claims").exists()


def test_another_program_takes_part_and_its_videos_are_not_done_again(tmp_path):
    entries = videos(6, length=40)

    def join_in() -> None:
        while not list(tmp_path.glob(".claims/v*")):  # the first one's workers take long to start
            time.sleep(0.02)
        run_over_videos(SlowJob(tmp_path), entries, 1, "b")

    other = threading.Thread(target=join_in)
    other.start()
    frames = run_over_videos(SlowJob(tmp_path), entries, 2, "a")
    other.join()
    assert 0 < frames < 240 and len(log(tmp_path)) == 6


def test_a_killed_workers_video_is_done_by_the_others(tmp_path, caplog):
    killed: list[str] = []

    def kill_one() -> None:
        while not (claims := list(tmp_path.glob(".claims/v*"))) or not claims[0].read_text():
            time.sleep(0.02)
        killed.append(claims[0].name)
        os.kill(json.loads(claims[0].read_text())["process"], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    run_over_videos(SlowJob(tmp_path), videos(4, length=60), 2, "test")
    killer.join()
    words = rf"killed \(exit code -9\) at work on training video {killed[0]}; the others do that"
    assert re.search(words, caplog.text)
    assert sorted(name for name, _ in log(tmp_path)) == ["v0", "v1", "v2", "v3"]
    assert not (tmp_path / ".claims").exists()


def test_all_workers_killed_is_an_error(tmp_path):
    def kill_all() -> None:
        killed: set[int] = set()
        while len(killed) < 2:
            for claim in tmp_path.glob(".claims/v*"):
                process = json.loads(claim.read_text() or '{"process": 0}')["process"]
                if process and process not in killed:
                    os.kill(process, signal.SIGKILL)
                    killed.add(process)

    killer = threading.Thread(target=kill_all)
    killer.start()
    with pytest.raises(UserError, match=r"all worker .* last at work on training video v\d\)"):
        run_over_videos(SlowJob(tmp_path), videos(4, length=60), 2, "test")
    killer.join()


def test_a_fault_names_its_video_and_stops_the_rest(tmp_path):
    with pytest.raises(UserError, match="training video v1: unreadable"):
        run_over_videos(SlowJob(tmp_path, broken="v1"), videos(9), 2, "test")
    assert 1 <= len(log(tmp_path)) < 8 and not (tmp_path / ".claims").exists()


def test_only_a_videos_own_leftovers_are_cleared(tmp_path):
    for name in (".a.123.part.npy", ".a.b.123.part.npy", ".ab.1.part", "a.npy"):
        (tmp_path / name).write_text("")
    (tmp_path / ".a.x1_y.part").mkdir()
    clear_leftovers(tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".a.b.123.part.npy",
        ".ab.1.part",
        "a.npy",
    ]


def cube_files(root: Path) -> dict[str, bytes]:
    paths = [path for path in (root / "cubes").rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def test_cubes_of_a_killed_program_are_finished_by_another_one(tmp_path):
    dataset = make_dataset(tmp_path / "tiny", {"training": (160, 150), "testing": (140,)})
    config = tmp_path / "tiny.yaml"
    config.write_text(json.dumps({"data": {"name": "tiny", "root": str(dataset.root)}}))
    arguments = ["--cfg_file", str(config), "--workers", "1"]
    script = ROOT / "pre_process" / "extract_samples.py"
    program = subprocess.Popen([sys.executable, str(script), *arguments], stderr=subprocess.DEVNULL)
    while not list(dataset.root.glob("cubes/*/.claims/*")):
        assert program.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)  # in the middle of a video
    program.kill()
    program.wait()
    assert list(dataset.root.glob("cubes/*/.*.part"))
    extract_samples.main(arguments)
    finished = cube_files(dataset.root)
    assert len(finished) == 3 * 5 and not list(dataset.root.glob("cubes/*/.*"))
    shutil.rmtree(dataset.root / "cubes")
    extract_samples.main([*arguments[:3], "2"])
    assert cube_files(dataset.root) == finished
