"""What an installation needs before it downloads anything, and what it mends afterwards.

``python -m utils.installation check`` and ``... mend``, called by the Makefile. Standard library
only: it runs under the system's Python, before anything is installed, also under one too old.
"""

import importlib.metadata
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
FREE_GB = 9


def faults() -> list[str]:
    """What keeps this machine from an installation: sentences that say what to do."""
    checks = (_python_fault(), _venv_fault(), _space_fault())
    return [fault for fault in checks if fault]


def _python_fault() -> str:
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return ""
    have = ".".join(map(str, sys.version_info[:3]))
    return (
        f"Python {have} ({sys.executable}) is not supported: 3.11 to 3.13 are. Install one of "
        "them and name it: make PYTHON=python3.13 ..."
    )


def _venv_fault() -> str:
    try:
        import ensurepip  # noqa: F401  (Debian ships it apart, and venv fails late without it)
        import venv  # noqa: F401
    except ImportError:
        return (
            "Python's venv is missing (on Debian and Ubuntu: apt-get install "
            f"python3-venv or python3.{sys.version_info[1]}-venv)"
        )
    return ""


def _space_fault() -> str:
    free = shutil.disk_usage(".").free / 1e9
    if free >= FREE_GB:
        return ""
    return f"{free:.0f} GB are free here: the libraries need {FREE_GB} GB (torch brings CUDA along)"


def mend() -> None:
    """Exchange opencv-python for its headless build where its X11 libraries are missing.

    Servers and containers have no libxcb or libGL, which the windows of opencv-python want. We open
    no window. The requirements go on naming opencv-python, since mmengine and mmcv-lite do: two
    packages that own the same folder ``cv2`` must not both be installed.
    """
    if _run("-c", "import cv2", quiet=True):
        return
    version = importlib.metadata.version("opencv-python")
    print(f"opencv-python {version} finds no X11 libraries here: exchanged for the headless one")
    _run("-m", "pip", "uninstall", "--quiet", "--yes", "opencv-python")
    headless = f"opencv-python-headless=={version}"
    _run("-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", headless)
    if not _run("-c", "import cv2"):
        sys.exit("error: OpenCV cannot be imported (above); install the library that it names")


def _run(*arguments: str, quiet: bool = False) -> bool:
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.run([sys.executable, *arguments], stderr=sink).returncode == 0


def main() -> None:
    """``check`` ends with code 2 where something is missing."""
    if sys.argv[1:] == ["mend"]:
        return mend()
    missing = faults()
    for fault in missing:
        print(f"error: {fault}", file=sys.stderr)
    sys.exit(2 if missing else 0)


if __name__ == "__main__":
    main()
