"""Build the book strictly, the same way for `make book`, the browser tests and continuous integration.

Any warning is a failure: an undefined reference, an unknown citation, a failing or noisy cell, a missing
picture. Chapters whose code and library have not changed are taken from the cache.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# -W -n: every warning and every unknown reference is an error. --all: Sphinx repeats no warning about a page
# that it does not read again, so a second build after a failed one would pass.
STRICT = ["-W", "--keep-going", "-n", "--all"]

# ipykernel would warn about its local sockets once for every chapter.
KERNEL_CONFIG = "get_config().IPKernelApp.log_level = 40\n"
# Jupyter Book colours its log even in a file; Sphinx knows how not to.
JUPYTER_BOOK = """
import sys
from jupyter_book.cli.main import main
from sphinx.util.console import nocolor
sys.stdout.isatty() or nocolor()
main()
"""


def kernel_environment(build: Path) -> dict[str, str]:
    """Return the environment in which chapters run: this Python's kernel, and nobody's personal settings.

    Writes a folder of IPython settings into ``build``.
    """
    config = build / "ipython" / "profile_default" / "ipython_kernel_config.py"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(KERNEL_CONFIG, encoding="utf8")
    env = dict(os.environ)
    for name in ("MPLBACKEND", "MATPLOTLIBRC", "PYTHONWARNINGS"):
        env.pop(name, None)  # figures must come inline, and look the same for everybody
    for name in ("ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS"):
        env.pop(name, None)  # tests may pretend to be another processor; the book is built by this one
    env["JUPYTER_PATH"] = str(Path(sys.prefix, "share", "jupyter"))  # before any kernel of the user's own
    env["PYTHONPATH"] = str(ROOT)  # this tree's library, whatever else is installed
    env["IPYTHONDIR"] = str(build / "ipython")
    env["MPLCONFIGDIR"] = str(build / "matplotlib")
    # Torch's threads would wait for each other by spinning; beside any other job, that costs minutes.
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    return env


def build_book(output: Path) -> int:
    """Build into ``output/_build/html`` and return the exit status of the build."""
    env = kernel_environment(output / "_build")
    for leftover in ("html", ".doctrees"):  # a page that was renamed must not stay under its old name
        shutil.rmtree(output / "_build" / leftover, ignore_errors=True)
    # On a machine where matplotlib never ran, building its font cache may write to a cell's stderr.
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], env=env, check=True)
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(ROOT), "--path-output", str(output), *STRICT]
    return subprocess.run(command, env=env, check=False).returncode


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT, help="folder that gets _build/ (default: here)")
    output = parser.parse_args().output.resolve()
    began = time.perf_counter()
    status = build_book(output)
    seconds = time.perf_counter() - began
    page = output / "_build" / "html" / "index.html"
    if status:
        print(f"The book was NOT built: see the warnings above ({seconds:.0f} s).", file=sys.stderr)
    else:
        print(f"The book is in {page.parent} ({seconds:.0f} s)\nOpen {page.as_uri()}")
    return status


if __name__ == "__main__":
    sys.exit(main())
