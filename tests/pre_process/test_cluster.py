"""Videos shared out over processes: each is done once, whatever happens to a worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import distributed
import pytest

from datasets.manifest import VideoEntry
from pre_process import cluster, extract_samples
from pre_process.cluster import Task, run_over_videos
from tests.helpers.tiny_videos import make_dataset
from utils.errors import UserError
from utils.run_folder import sole_writer

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class LoggingJob:
    """Writes who did a video; may fail at one, or kill its process at one, so many times."""

    root: Path
    unreadable: str = ""
    deadly: str = ""
    deaths: int = 0

    def __call__(self) -> Task:
        def work(entry: VideoEntry, report) -> None:
            for _ in range(entry.num_frames):
                report(1)
            if entry.name == self.unreadable:
                raise UserError("unreadable")
            died = len(list(self.root.glob("death*")))
            if entry.name == self.deadly and died < self.deaths:
                (self.root / f"death{died}").touch()
                time.sleep(0.5)  # no real worker is lost before its first message has left
                os.kill(os.getpid(), signal.SIGKILL)
            with (self.root / "log").open("a", encoding="utf-8") as handle:
                handle.write(f"{entry.name} {os.getpid()}\n")
            self.product(entry).write_text("done", encoding="utf-8")

        return work

    def product(self, entry: VideoEntry) -> Path:
        return self.root / f"{entry.name}.txt"


def videos(count: int) -> list[VideoEntry]:
    numbers = range(count)
    return [VideoEntry(f"v{n}", "training", Path(), "video", 0, 10, 8, 8) for n in numbers]


def done(root: Path) -> list[str]:
    path = root / "log"
    return sorted(line.split()[0] for line in path.read_text().splitlines())


@pytest.mark.parametrize("workers", [1, 2])
def test_every_video_is_done_once(tmp_path, workers):
    assert run_over_videos(LoggingJob(tmp_path), videos(5), workers, "test") == 50
    assert done(tmp_path) == [f"v{n}" for n in range(5)]
    processes = {line.split()[1] for line in (tmp_path / "log").read_text().splitlines()}
    assert (str(os.getpid()) in processes) == (workers == 1)


def test_a_killed_workers_video_is_done_again(tmp_path, monkeypatch):
    warnings: list[str] = []
    monkeypatch.setattr(
        cluster.logger, "warning", lambda text, *values: warnings.append(text % values)
    )
    job = LoggingJob(tmp_path, deadly="v1", deaths=1)
    run_over_videos(job, videos(4), 2, "test")
    assert done(tmp_path) == ["v0", "v1", "v2", "v3"]
    assert "training video v1: its worker was lost, another one does it again" in warnings


def test_a_video_that_kills_its_workers_is_given_up_and_named(tmp_path):
    job = LoggingJob(tmp_path, deadly="v1", deaths=9)
    with pytest.raises(UserError, match="video v1: its worker process was killed 3 times"):
        run_over_videos(job, videos(3), 2, "test")
    assert set(done(tmp_path)) <= {"v0", "v2"}
    assert len(list(tmp_path.glob("death*"))) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_names_its_video_after_the_others_are_done(tmp_path, workers):
    with pytest.raises(UserError, match="training video v1: unreadable"):
        run_over_videos(LoggingJob(tmp_path, unreadable="v1"), videos(4), workers, "test")
    assert done(tmp_path) == ["v0", "v2", "v3"]


def test_workers_of_another_scheduler_do_the_work(tmp_path):
    settings = {"threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
    with distributed.LocalCluster(n_workers=1, **settings) as other:
        run_over_videos(LoggingJob(tmp_path), videos(3), 1, "test", other.scheduler_address)
    assert done(tmp_path) == ["v0", "v1", "v2"]
    assert str(os.getpid()) not in (tmp_path / "log").read_text()


def test_a_scheduler_that_does_not_answer_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"tcp://127\.0\.0\.1:9: .*start 'dask scheduler'"):
        run_over_videos(LoggingJob(tmp_path), videos(1), 1, "test", "tcp://127.0.0.1:9")


def test_a_second_run_into_the_same_folder_is_refused(tmp_path):
    with sole_writer(tmp_path), pytest.raises(UserError, match="another run is writing here; wait"):
        run_over_videos(LoggingJob(tmp_path), videos(1), 1, "test")


def cube_files(root: Path) -> dict[str, bytes]:
    paths = [path for path in (root / "cubes").rglob("[!.]*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_cubes_of_an_ended_program_are_finished_by_another_one(tmp_path, workers, number):
    dataset = make_dataset(tmp_path / "tiny", {"training": (160, 150), "testing": (140,)})
    config = tmp_path / "tiny.yaml"
    config.write_text(json.dumps({"data": {"name": "tiny", "root": str(dataset.root)}}))
    script = [sys.executable, str(ROOT / "pre_process" / "extract_samples.py")]
    arguments = ["--cfg_file", str(config), "--workers"]
    program = subprocess.Popen(
        [*script, *arguments, workers], stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not list(dataset.root.glob("cubes/*/.*.part")):
        assert program.poll() is None
    os.killpg(program.pid, number)  # as a terminal does on Ctrl-C
    assert program.wait(timeout=60) == {signal.SIGKILL: -9, signal.SIGINT: 130}[number]
    if number == signal.SIGINT:
        assert not list(dataset.root.glob("cubes/*/.*.part"))
    extract_samples.main([*arguments, "1"])
    finished = cube_files(dataset.root)
    assert len(finished) == 3 * 5 and not list(dataset.root.glob("cubes/*/.*.part"))
    shutil.rmtree(dataset.root / "cubes")
    extract_samples.main([*arguments, "2"])
    assert cube_files(dataset.root) == finished
