"""nginx and Caddy in front of a service, with the configurations of deploy/proxy."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests._support.missing import miss
from tests._support.paths import ROOT
from tests._support.patience import PATIENCE_S

_FOLDER = ROOT / "deploy" / "proxy"


def find_own_address() -> str:
    """Return an address of this machine that is not loopback; skips the test if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            miss("no address beyond loopback")
        address: str = probe.getsockname()[0]
        return address


@contextmanager
def run_proxy(name: str, folder: Path, port: int) -> Iterator[int]:
    """Run the proxy `nginx` or `caddy` in front of `port`; yields its own port on all addresses."""
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if program is None:
        miss(f"no {name}")
    with socket.socket() as listener:
        listener.bind(("", 0))
        own: int = listener.getsockname()[1]
    arguments = _PREPARE[name](folder, own, port)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], cwd=folder, stdout=log, stderr=log,
                                   env={"HOME": str(folder), "PATH": "/usr/bin:/bin"})  # fmt: skip
    try:
        _wait_for(own, process, folder / "log")
        yield own
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _prepare_nginx(folder: Path, own: int, port: int) -> Sequence[str]:
    server = (_FOLDER / "nginx.conf").read_text()
    server = re.sub(r"\n +ssl_certificate.*", "", server)
    server = server.replace("listen 443 ssl;", f"listen {own}; listen [::]:{own};")
    server = server.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"events {{}}\nhttp {{ access_log off; {temporary}\n{server}}}\n"
    (folder / "nginx.conf").write_text(whole)
    settings = f"daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;"
    return ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", settings]


def _prepare_caddy(folder: Path, own: int, port: int) -> Sequence[str]:
    site = (_FOLDER / "Caddyfile").read_text()
    site = site.replace("chat.example.com {", f"http://:{own} {{")
    site = site.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n}}\n{site}")
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


_PREPARE = {"nginx": _prepare_nginx, "caddy": _prepare_caddy}


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
