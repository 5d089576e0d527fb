"""hadolint finds nothing in the Dockerfile."""

import subprocess
import sys
from pathlib import Path

from checks.paths import DEPLOY


def check() -> list[str]:
    hadolint = Path(sys.executable).parent / "hadolint"
    run = subprocess.run([hadolint, "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    output = (run.stdout + run.stderr).strip().splitlines()
    return output if run.returncode == 0 or output else [f"hadolint ended with {run.returncode}"]
