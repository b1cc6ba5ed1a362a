"""Time the feature loader on a large array, against one that reads item by item.

Without --sparse a real array is written first (random values, so that no file system can cheat).

Example: python -m benchmarks.feature_loader --folder data/features_bench --snippets 50000
         python -m benchmarks.feature_loader --folder data/features_bench --snippets 779951 --sparse
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np

from datasets.features.dataset import FeatureSet
from datasets.features.loader import FeatureLoader

CROPS, SIZE, K, BATCH = 10, 2048, 4, 320


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="scratch folder")
    parser.add_argument("--snippets", type=int, default=50_000, help="50000 are 4 GB")
    parser.add_argument("--sparse", action="store_true", help="a file of holes: starting time only")
    parser.add_argument("--steps", type=int, default=100, help="batches to time")
    parser.add_argument("--pool_mb", type=int, default=256)
    parser.add_argument("--plain", action="store_true", help="time the item-by-item loader instead")
    parser.add_argument(
        "--evict", action="store_true", help="forget the file's pages after each batch: disk speed"
    )
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    make_array(arguments.folder, arguments.snippets, arguments.sparse)
    drop_cache(arguments.folder / "all.npy")
    started = time.perf_counter()
    features = FeatureSet.open(arguments.folder / "all.npy", arguments.folder / "ranges.npy")
    if arguments.plain:
        batches = plain_batches(features)
    else:
        batches = FeatureLoader(features, BATCH, K, pool_mb=arguments.pool_mb).epoch(0)
    items = 0
    for step, batch in enumerate(batches):
        if step == 0:
            print(f"first batch after {time.perf_counter() - started:.2f} s")
        items += len(batch[0])
        if arguments.evict:
            drop_cache(features.files[0].path)
        if step + 1 == arguments.steps:
            break
    seconds = time.perf_counter() - started
    batches.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{items} items in {seconds:.2f} s: {items / seconds:.0f} items/s; peak {peak:.2f} GiB")


def make_array(folder: Path, snippets: int, sparse: bool) -> None:
    """``all.npy`` (snippets, 10, 2048) float32 and ``ranges.npy``, unless they are there."""
    path = folder / "all.npy"
    if path.exists():
        return
    offset = np.lib.format.open_memmap(path, "w+", np.float32, (snippets, CROPS, SIZE)).offset
    random = np.random.default_rng(0)
    if not sparse:
        with path.open("r+b") as handle:  # writing mapped pages would count as the loader's memory
            handle.seek(offset)
            for start in range(0, snippets, 1000):
                rows = min(1000, snippets - start)
                handle.write(random.random((rows, CROPS, SIZE), "f4"))
    cuts = np.sort(random.choice(np.arange(1, snippets), snippets // 485, replace=False))
    bounds = np.concatenate([[0], cuts, [snippets]])
    np.save(folder / "ranges.npy", np.stack([bounds[:-1], bounds[1:]], axis=1))


def drop_cache(path: Path) -> None:
    """Ask the kernel to forget the file's pages, so that reads come from the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain_batches(features: FeatureSet):
    """What a loader does that reads each item of a random order on its own."""
    order = np.random.default_rng(0).permutation(len(features))
    for start in range(0, len(order), BATCH):
        array = np.load(features.files[0].path, mmap_mode="r")
        rows = features.item_rows(order[start : start + BATCH], K)
        items = [np.stack([array[row] for row in item], axis=1) for item in rows]
        del array  # mapped pages cannot be evicted
        yield rows, np.stack(items)


if __name__ == "__main__":
    main()
