"""Installing, as far as it goes without changing this machine."""

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

from dbops import server, settings
from dbops.errors import ServerError, UsageError
from dbops.events import Event
from dbops.server import packages
from dbops.server.directory import Layout, claim
from dbops.server.find import Installation
from dbops.server.packages import Apt

REMOVED_KEYS = Path("/usr/share/keyrings/debian-archive-removed-keys.gpg")
needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="this system has no apt-get")


def test_mirror_is_the_main_archive_and_not_security(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ("Debian\tDebian-Security\tfile:/security", "Node\tNode\tfile:/node", "Debian\tDebian\tfile:/main")
    monkeypatch.setattr(packages, "ask", lambda *_: rows)
    assert packages.mirror() == "file:/main"


def test_machine_without_a_debian_mirror_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "ask", lambda *_: ("Ubuntu\tUbuntu\tfile:/ubuntu", "Debian\tDebian\tcdrom:/x"))
    with pytest.raises(ServerError, match="no mirror"):
        packages.mirror()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return an archive in a directory whose list of sources is not signed."""
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    suite = tmp_path / "mirror" / "dists" / packages.SUITE
    (suite / "main" / "source").mkdir(parents=True)
    (suite / "main" / "source" / "Sources").touch()
    (suite / "Release").write_text("Origin: Debian\nSuite: stable\nCodename: trixie\nComponents: main\n")
    return tmp_path / "mirror"


@needs_apt
def test_unsigned_archive_is_refused(tmp_path: Path, repository: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ServerError, match="signature") as caught:
        packages.fetch_source(Apt((), tmp_path / "log"), work, f"file:{repository}", packages.KEYRING)
    assert "is not signed" in caught.value.render()
    assert not list((work / "source").iterdir())


@needs_apt
@pytest.mark.skipif(not list(Path("/var/lib/apt/lists").glob("*_dists_*InRelease")), reason="apt has no lists yet")
@pytest.mark.skipif(not REMOVED_KEYS.exists(), reason="Debian's retired keys are not here")
def test_archive_signed_with_another_key_is_refused(tmp_path: Path, repository: Path) -> None:
    signed = next(Path("/var/lib/apt/lists").glob("*_dists_*InRelease"))
    shutil.copy(signed, repository / "dists" / packages.SUITE / "InRelease")
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ServerError, match="signature") as caught:
        packages.fetch_source(Apt((), tmp_path / "log"), work, f"file:{repository}", REMOVED_KEYS)
    # apt of Debian 12 asks gpgv, that of Debian 13 sqv.
    assert re.search(r"NO_PUBKEY|Missing key", caught.value.render()), caught.value.render()


def test_failing_command_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerError) as caught:
        Apt((), tmp_path / "log").run("it failed", "sh", "-c", "seq 100; echo the reason; exit 3")
    assert caught.value.notes[-1] == "the reason"
    assert caught.value.where == str(tmp_path / "log")
    assert "invoke server.install" in caught.value.hint


def test_without_root_and_sudo_the_other_ways_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ServerError) as caught:
        packages.become_root(ask=True)
    assert "DATABASE_URL" in caught.value.hint
    assert "compose.yaml" in caught.value.hint


def test_sudo_that_wants_a_password_is_asked_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    ran: list[tuple[str, ...]] = []

    def run(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", run)
    code = 1
    with pytest.raises(ServerError, match="needs root"):
        packages.become_root(ask=False)
    code = 0
    assert packages.become_root(ask=False) == ("sudo", "-n")
    assert ran == [("sudo", "-n", "true")] * 2


def test_system_without_apt_is_shown_the_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ServerError) as caught:
        packages.install(tmp_path / "log", ask=False, report=lambda _: None)
    assert "compose.yaml" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_newest_package_wins_and_those_no_longer_offered_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ("postgresql-9-timescaledb - x", "postgresql-18-timescaledb - x", "postgresql-17-timescaledb - x")
    madison = {"postgresql-17-timescaledb": ("17",), "postgresql-9-timescaledb": ("9",)}
    monkeypatch.setattr(packages, "ask", lambda *words: search if words[1] == "search" else madison.get(words[2], ()))
    assert packages.newest() == "postgresql-17-timescaledb"


def test_directory_can_be_made_before_there_is_an_account_that_runs_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: str) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwnam", nobody)
    claim(Layout(tmp_path / "server"))
    assert (tmp_path / "server").is_dir()


OWN_BUILDS = {
    "installed 2.19.3+dfsg-1+deb13u1+kapman": True,
    "installed 2.19.3+dfsg-1+deb13u1+kapman.01234567": True,
    f"installed 2.19.3+dfsg-1+deb13u1{packages.BUILD}": False,
    "installed 2.19.3~ubuntu22.04": False,
    "config-files 2.19.3+dfsg-1+deb13u1+kapman": False,
    "": False,
}


@pytest.mark.parametrize("state", OWN_BUILDS)
def test_build_with_other_options_is_told_apart_by_its_version(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setattr(packages, "ask", lambda *_: (state,) if state else ())
    assert packages.is_outdated() == OWN_BUILDS[state]


def test_outdated_build_is_used_where_nobody_can_become_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Installation(tmp_path, "15.20", "2.19.3")
    monkeypatch.setattr(server.Embedded, "installations", lambda _: (found,))
    monkeypatch.setattr(packages, "is_outdated", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    said: list[Event] = []
    assert server.install(server.Embedded(Layout(tmp_path / "server")), report=said.append) == found
    assert "options that are not used any more" in str(said)
    assert not (tmp_path / "server").exists()


def test_what_another_command_has_installed_meanwhile_is_not_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, found = Layout(tmp_path / "server"), Installation(tmp_path, "15.20", "2.19.3")
    installed: list[Installation] = []
    monkeypatch.setattr(server.Embedded, "installations", lambda _: tuple(installed))
    monkeypatch.setattr(packages, "is_outdated", lambda: False)
    monkeypatch.setattr(packages, "install", lambda *_, **__: pytest.fail("it was installed twice"))
    claim(layout)
    other = FileLock(layout.lock)
    other.acquire()

    def end_the_other(event: Event) -> None:
        assert "waiting for another server command" in str(event)
        installed.append(found)
        other.release()

    assert server.install(server.Embedded(layout), report=end_the_other) == found
    assert installed


def test_server_directory_is_reachable_for_root_and_in_the_home_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert settings.server_directory({"HOME": "/root"}) == Path("/var/lib/kapman-dbops")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert settings.server_directory({"HOME": "/home/a"}) == Path("/home/a/.local/share/kapman-dbops")
    assert settings.server_directory({"XDG_DATA_HOME": "/data"}) == Path("/data/kapman-dbops")
    assert settings.server_directory({"KAPMAN_SERVER_DIR": "/elsewhere"}) == Path("/elsewhere")


PORTS = {"auto": 0, "none": -1, "0": 0, "5433": 5433, "65535": 65535}


@pytest.mark.parametrize(("text", "port"), PORTS.items())
def test_port_is_a_number_or_auto(text: str, port: int) -> None:
    assert settings.port_number("--port", text) == port


@pytest.mark.parametrize("text", ["65536", "-1", "x", "1.5", "٣"])
def test_invalid_port_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="invalid port"):
        settings.port_number("--port", text)
