"""Self-signed certificates for servers of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests._support.missing import miss


def make_certificate(folder: Path, host: str) -> Path:
    """Return a file with a key and the certificate of `host`. Needs openssl."""
    file = folder / "certificate.pem"
    openssl = shutil.which("openssl") or miss("openssl is not installed")
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    name = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run([openssl, *options.split(), *name, *files], check=True, capture_output=True)
    file.write_text("".join((folder / each).read_text() for each in ("key", "certificate")))
    return file
