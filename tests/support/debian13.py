"""The README's two commands on a bare Debian 13, with its Python 3.13 and PostgreSQL 17, in a chroot.

    python -m tests.support.debian13

What is run is a clone of this repository, at the commit that is checked out. The chroot is made by debootstrap with
python3, pip and git, which stays in the user's cache directory; each run is in a copy of it. That needs root.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dbops.settings import ROOT
from tests.support import engines

SUITE = "trixie"
PACKAGES = "python3,python3-pip,git,ca-certificates"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# In name spaces of its own: when the last command ends, its processes and mounts are gone.
INSIDE = (
    "unshare",
    *("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
    "sh",
    "-ec",
    'mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/dev/shm"; mount -t devpts devpts "$1/dev/pts"; '
    'exec chroot "$1" sh -ec "cd /root/clone; $2"',
    "sh",
)


def commands() -> list[str]:
    """Return the commands that the README tells a reader to type."""
    return re.findall(r"^(pip install .*?) +#", (ROOT / "README.md").read_text(), re.MULTILINE)


def run(base: Path) -> int:
    """Run the commands in a copy of the bare chroot, their output shown, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="debian13-", dir=base.parent, ignore_cleanup_errors=True) as name:
        root = Path(name)
        subprocess.run(["cp", "-a", f"{base}/.", name], check=True)
        root.chmod(0o755)
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        # With the repository that it was cloned from, which lint asks for tags.
        origin, clone = root / "root" / "origin.git", root / "root" / "clone"
        subprocess.run(["git", "clone", "--quiet", "--bare", "--no-hardlinks", ROOT, origin], check=True)
        subprocess.run(["git", "clone", "--quiet", origin, clone], check=True)
        subprocess.run(["git", "-C", clone, "remote", "set-url", "origin", "/root/origin.git"], check=True)
        proxies = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
        environ = {**engines.ENVIRONMENT, **proxies, "HOME": "/root", "PIP_ROOT_USER_ACTION": "ignore"}
        if trusted := os.environ.get("SSL_CERT_FILE"):
            # The certificate authorities that this machine trusts beside the usual ones.
            shutil.copy(trusted, root / CERTIFICATES.lstrip("/"))
            environ["SSL_CERT_FILE"] = CERTIFICATES
        environ |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_DEFAULT_TIMEOUT": "180"}
        script = "\n".join(["python3 --version", *commands()])
        return subprocess.run([*INSIDE, name, script], env=environ, stdin=subprocess.DEVNULL, check=False).returncode


def main() -> int:
    """Make the chroot if need be, run the commands in it, and return the exit code."""
    try:
        return run(engines.make_bare_chroot(SUITE, PACKAGES))
    except engines.EngineError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 3


if __name__ == "__main__":
    sys.exit(main())
