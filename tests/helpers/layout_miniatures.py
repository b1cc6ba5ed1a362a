"""Miniatures of the official data sets' layouts, for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import scipy.io

SIZE = (24, 16)  # width, height


def picture(index: int = 0) -> np.ndarray:
    """A frame; its grey level is ten times its index."""
    return np.full((SIZE[1], SIZE[0], 3), 10 * index % 250, np.uint8)


def write_frames(folder: Path, num_frames: int, suffix: str = ".jpg", digits: int = 3) -> None:
    """A folder of images, named from 1 on."""
    folder.mkdir(parents=True)
    for index in range(num_frames):
        cv2.imwrite(str(folder / f"{index + 1:0{digits}d}{suffix}"), picture(index))


def write_video(path: Path, num_frames: int) -> None:
    """A Motion JPEG video file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, SIZE)
    for index in range(num_frames):
        writer.write(picture(index))
    writer.release()


def masks(labels: list[int]) -> list[np.ndarray]:
    """Pixel masks with one square where a label is 1."""
    stack = np.zeros((len(labels), SIZE[1], SIZE[0]), np.uint8)
    stack[np.array(labels) > 0, 4:8, 6:12] = 255
    return list(stack)


def ucsd(root: Path, name: str, with_masks_for: int, labels: list[list[int]]) -> Path:
    """UCSDped1 / UCSDped2: .tif folders, masks of some videos, and the .m file."""
    folder = root / "UCSD_Anomaly_Dataset.v1p2" / name
    write_frames(folder / "Train" / "Train001", 6, ".tif")
    lines = ["% ground truth", "TestVideoFile = {};"]
    for index, frame_labels in enumerate(labels, 1):
        write_frames(folder / "Test" / f"Test{index:03d}", len(frame_labels), ".tif")
        edges = np.flatnonzero(np.diff([0, *frame_labels, 0])).reshape(-1, 2)
        spans = ", ".join(f"{start + 1}:{stop}" for start, stop in edges)
        lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{spans}];")
        if index <= with_masks_for:
            gt = folder / "Test" / f"Test{index:03d}_gt"
            gt.mkdir()
            for frame, mask in enumerate(masks(frame_labels), 1):
                cv2.imwrite(str(gt / f"{frame:03d}.bmp"), mask)
    (folder / "Test" / f"{name}.m").write_text("\n".join(lines) + "\n")
    (folder / "Test" / ".DS_Store").write_text("x")
    return root


def avenue(root: Path, train_lengths: list[int], labels: list[list[int]]) -> Path:
    """Avenue: numbered .avi files, and the masks of its second archive."""
    for index, num_frames in enumerate(train_lengths, 1):
        write_video(root / "Avenue Dataset" / "training_videos" / f"{index:02d}.avi", num_frames)
    folder = root / "ground_truth_demo" / "testing_label_mask"
    folder.mkdir(parents=True)
    for index, frame_labels in enumerate(labels, 1):
        path = root / "Avenue Dataset" / "testing_videos" / f"{index:02d}.avi"
        write_video(path, len(frame_labels))
        volume = np.empty((1, len(frame_labels)), object)
        volume[0, :] = masks(frame_labels)
        scipy.io.savemat(folder / f"{index}_label.mat", {"volLabel": volume})
    return root


def shanghaitech(root: Path, labels: dict[str, list[int]]) -> Path:
    """ShanghaiTech: training .avi, test frames, frame and pixel masks."""
    write_video(root / "training" / "videos" / "01_001.avi", 7)
    for kind in ("test_frame_mask", "test_pixel_mask"):
        (root / "testing" / kind).mkdir(parents=True)
    for name, frame_labels in labels.items():
        write_frames(root / "testing" / "frames" / name, len(frame_labels))
        np.save(root / "testing" / "test_frame_mask" / f"{name}.npy", np.uint8(frame_labels))
        stack = np.array(masks(frame_labels)) > 0
        np.save(root / "testing" / "test_pixel_mask" / f"{name}.npy", stack)
    return root
