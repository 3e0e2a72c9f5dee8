"""Builds the program and the reference servers: release, static."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / "benches" / "peers"


def host() -> str:
    """The target triple of this machine. Naming it keeps RUSTFLAGS from build scripts and
    procedural macros, which cannot be static."""
    for line in subprocess.check_output(["rustc", "-vV"], text=True).splitlines():
        if line.startswith("host: "):
            return line.removeprefix("host: ")
    raise SystemExit("rustc -vV names no host")


def build() -> Path:
    """Builds everything, and returns the directory of the binaries."""
    environment = os.environ | {"RUSTFLAGS": "-C target-feature=+crt-static"}
    target = host()
    folder = ROOT / "target" / "benches"
    for package in (ROOT, PEERS):
        command = ["cargo", "build", "--release", "--bins", "--target", target]
        command += ["--manifest-path", str(package / "Cargo.toml"), "--target-dir", str(folder)]
        print("+", " ".join(command), flush=True)
        subprocess.run(command, check=True, env=environment)
    return folder / target / "release"
