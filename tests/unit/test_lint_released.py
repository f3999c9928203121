"""Released migrations are immutable: compared with the git history, if that is known."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from dbops.lint import __main__ as lint
from dbops.lint import check
from dbops.migrations import released
from dbops.migrations.released import UnknownHistoryError
from dbops.settings import ROOT

HEADER = "-- Why: a test.\n-- Needs: nothing.\n-- Locks: none.\n\n"


class Repository:
    """A git repository with migrations, on its main branch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root / "db" / "migrations"
        self.directory.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", *identity, "-C", str(self.root), *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        ).stdout

    def write(self, name: str, text: str = "SELECT 1;\n") -> Path:
        path = self.directory / name
        path.write_text(f"-- {name}\n{text}")
        return path

    def commit(self, *names: str) -> None:
        for name in names:
            self.write(name)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=Change something")

    def findings(self) -> list[tuple[str, int, str]]:
        found = check.changes(self.directory, released.find(self.directory))
        return [(Path(finding.path).name, finding.line, finding.rule) for finding in found]

    def known(self) -> tuple[str, ...]:
        return released.find(self.directory).names


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Return a repository whose main branch has two migrations, and no tag."""
    made = Repository(tmp_path / "repository")
    made.commit("0001_create_a.sql", "0002_create_b.sql")
    return made


def test_nothing_is_released_on_main_without_a_tag(repository: Repository) -> None:
    repository.write("0001_create_a.sql", "SELECT 2;\n")
    assert repository.known() == ()
    assert repository.findings() == []
    repository.commit()
    assert "no version tag" in released.find(repository.directory).description


def test_tag_releases_what_it_contains(repository: Repository) -> None:
    repository.git("tag", "v1.0.0")
    repository.commit("0003_create_c.sql")
    repository.write("0003_create_c.sql", "SELECT 2;\n")
    assert repository.known() == ("0001_create_a.sql", "0002_create_b.sql")
    assert repository.findings() == []
    repository.write("0002_create_b.sql", "SELECT 2;\n")
    assert repository.findings() == [("0002_create_b.sql", 2, "released-edited")]
    repository.commit()
    assert repository.findings() == [("0002_create_b.sql", 2, "released-edited")]


def test_newest_tag_counts_as_versions_do(repository: Repository) -> None:
    repository.git("tag", "v1.9.0")
    repository.commit("0003_create_c.sql")
    repository.git("tag", "v1.10.0")
    repository.git("tag", "verified-later")
    repository.git("tag", "w2.0.0", "v1.9.0")
    assert len(repository.known()) == 3


@pytest.mark.parametrize(
    "tag", ["vNext", "v2-spike", "vendor-drop", "v", "v2.x", "v1.0.0-fix", "version-2", "v1/x", "db/v1.0.0", "V1"]
)
def test_tag_that_is_no_version_releases_nothing_and_hides_none(repository: Repository, tag: str) -> None:
    repository.git("tag", tag)
    assert repository.known() == ()
    repository.git("tag", "v1.0.0")
    repository.commit("0003_create_c.sql")
    repository.git("tag", "--force", tag)
    assert repository.known() == ("0001_create_a.sql", "0002_create_b.sql")


@pytest.mark.parametrize(
    "tag",
    [
        "v2",
        "v1.0",
        "v1.0.0.1",
        "v1.0.0-rc1",
        "v1.0.0rc1",
        "v1.0.0-beta.2",
        "v1.0.0.post1",
        "v1.0.0+build.5",
        "v1.0.0-rc.1.2",
    ],
)
def test_tag_that_is_a_version_releases(repository: Repository, tag: str) -> None:
    repository.git("tag", tag)
    assert len(repository.known()) == 2


@pytest.mark.parametrize("what", ["HEAD:db/migrations", "HEAD:db/migrations/0001_create_a.sql"])
def test_version_tag_of_no_commit_releases_nothing(repository: Repository, what: str) -> None:
    repository.git("tag", "v1.0.0", what)
    assert repository.known() == ()


def test_all_merged_versions_count_together(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--create", "hotfix")
    repository.commit("0003_fix_a.sql")
    repository.git("tag", "v1.0.1")
    repository.git("switch", "--quiet", "main")
    repository.commit("0004_create_d.sql")
    repository.git("tag", "v1.1.0")
    repository.git("merge", "--quiet", "--no-edit", "hotfix")
    assert len(repository.known()) == 4
    repository.write("0003_fix_a.sql", "SELECT 2;\n")
    repository.write("0004_create_d.sql", "SELECT 2;\n")
    assert repository.findings() == [
        ("0003_fix_a.sql", 2, "released-edited"),
        ("0004_create_d.sql", 2, "released-edited"),
    ]


def test_release_is_newer_than_its_candidates(repository: Repository) -> None:
    repository.git("tag", "v1.1.0-rc1")
    repository.commit("0003_create_c.sql")
    repository.git("tag", "v1.1.0")
    assert released.find(repository.directory).description == "tag v1.1.0"


def test_branch_of_the_same_name_as_a_tag_does_not_mislead(repository: Repository) -> None:
    repository.git("tag", "v1.0.0")
    repository.commit("0003_create_c.sql")
    repository.git("branch", "v1.0.0")
    assert released.find(repository.directory).description == "tag v1.0.0"
    assert len(repository.known()) == 2


def test_tag_of_another_branch_does_not_count(repository: Repository) -> None:
    repository.git("tag", "v1.0.0")
    repository.git("switch", "--quiet", "--create", "other")
    repository.commit("0003_create_c.sql")
    repository.git("tag", "v2.0.0")
    repository.git("switch", "--quiet", "main")
    assert len(repository.known()) == 2


def test_comment_that_was_edited_counts(repository: Repository) -> None:
    repository.git("tag", "v1.0.0")
    path = repository.directory / "0001_create_a.sql"
    path.write_text(path.read_text() + "-- One more comment.\n")
    assert repository.findings() == [("0001_create_a.sql", 3, "released-edited")]


@pytest.mark.parametrize("change", [lambda b: b.replace(b"\n", b"\r\n"), lambda b: b"\xef\xbb\xbf" + b])
def test_line_ends_and_bom_do_not_count(repository: Repository, change: object) -> None:
    repository.git("tag", "v1.0.0")
    path = repository.directory / "0001_create_a.sql"
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    assert repository.findings() == []


def test_file_that_is_gone_or_renamed_is_found(repository: Repository) -> None:
    repository.git("tag", "v1.0.0")
    (repository.directory / "0001_create_a.sql").unlink()
    (repository.directory / "0002_create_b.sql").rename(repository.directory / "0003_create_b.sql")
    release = released.find(repository.directory)
    found = list(check.changes(repository.directory, release))
    assert [finding.rule for finding in found] == ["released-removed", "released-removed"]
    assert "was removed" in found[0].why
    assert "was renamed to 0003_create_b.sql" in found[1].why


@pytest.mark.parametrize(("name", "found"), [("0002_do_more.sql", True), ("0003_do_more.sql", False)])
def test_new_file_is_numbered_above_the_released_ones(repository: Repository, name: str, found: bool) -> None:
    repository.git("tag", "v1.0.0")
    repository.write(name)
    assert repository.findings() == ([(name, 1, "released-number")] if found else [])


def test_branch_without_a_tag_is_compared_with_where_it_left_main(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--create", "topic")
    assert len(repository.known()) == 2
    repository.commit("0003_create_c.sql")
    assert len(repository.known()) == 2
    repository.write("0001_create_a.sql", "SELECT 2;\n")
    assert repository.findings() == [("0001_create_a.sql", 2, "released-edited")]


def test_merge_of_main_releases_what_it_brings(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--create", "topic")
    repository.commit("0003_create_mine.sql")
    repository.git("switch", "--quiet", "main")
    repository.commit("0003_create_theirs.sql")
    repository.git("switch", "--quiet", "topic")
    assert repository.findings() == []
    repository.git("merge", "--quiet", "--no-edit", "main")
    assert repository.findings() == [("0003_create_mine.sql", 1, "released-number")]


def test_commit_of_main_by_its_hash_is_as_main(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--detach", "main")
    assert repository.known() == ()


def test_names_of_released_files_are_empty_where_git_does_not_know_them(repository: Repository, tmp_path: Path) -> None:
    repository.git("tag", "v1.0.0")
    assert len(released.released_names(repository.directory)) == 2
    assert released.released_names(tmp_path) == ()


def test_plain_clone_of_main_passes(repository: Repository, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", str(repository.root), str(tmp_path / "clone")], check=True)
    found = released.find(tmp_path / "clone" / "db" / "migrations")
    assert found.names == ()


def clone_without_tags(repository: Repository, clone: Path) -> Path:
    """Clone the repository, and return the directory of migrations in the clone."""
    source = str(repository.root)
    subprocess.run(["git", "clone", "--quiet", "--no-tags", source, str(clone)], check=True)
    return clone / "db" / "migrations"


def test_clone_without_the_tags_of_its_origin_is_an_unknown_history_in_ci(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.git("tag", "v1.0.0")
    directory = clone_without_tags(repository, tmp_path / "clone")
    monkeypatch.delenv("CI", raising=False)
    assert released.find(directory).names == ()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(
        UnknownHistoryError, match=r"lacks the tags of origin, such as v1\.0\.0: run `git fetch --tags`"
    ):
        released.find(directory)
    subprocess.run(["git", "-C", str(directory), "fetch", "--quiet", "--tags"], check=True)
    assert len(released.find(directory).names) == 2


def test_clone_without_tags_that_are_no_versions_passes_in_ci(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.git("tag", "another/v1.0.0")
    directory = clone_without_tags(repository, tmp_path / "clone")
    monkeypatch.setenv("CI", "true")
    assert released.find(directory).names == ()


def test_clone_whose_origin_cannot_be_asked_is_an_unknown_history_in_ci(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    assert released.find(repository.directory).names == ()
    # A directory of this machine that is gone has released nothing since.
    repository.git("remote", "add", "origin", str(repository.root / "gone"))
    assert released.find(repository.directory).names == ()
    repository.git("remote", "set-url", "origin", f"file://{repository.root}/gone")
    with pytest.raises(UnknownHistoryError, match="gone"):
        released.find(repository.directory)


def test_branch_in_a_clone_is_compared_with_the_remote_main(repository: Repository, tmp_path: Path) -> None:
    repository.git("switch", "--quiet", "--create", "topic")
    repository.commit("0003_create_c.sql")
    subprocess.run(["git", "clone", "--quiet", str(repository.root), str(tmp_path / "clone")], check=True)
    found = released.find(tmp_path / "clone" / "db" / "migrations")
    assert found.names == ("0001_create_a.sql", "0002_create_b.sql")
    assert found.description.startswith("origin/main")


def test_shallow_clone_is_an_unknown_history(repository: Repository, tmp_path: Path) -> None:
    repository.commit("0003_create_c.sql")
    source = repository.root.as_uri()
    subprocess.run(["git", "clone", "--quiet", "--depth=1", source, str(tmp_path / "clone")], check=True)
    with pytest.raises(UnknownHistoryError, match="shallow"):
        released.find(tmp_path / "clone" / "db" / "migrations")


def test_clone_without_the_main_branch_is_an_unknown_history(repository: Repository, tmp_path: Path) -> None:
    repository.git("switch", "--quiet", "--create", "topic")
    arguments = ["--branch=topic", "--single-branch", str(repository.root), str(tmp_path / "clone")]
    subprocess.run(["git", "clone", "--quiet", *arguments], check=True)
    with pytest.raises(UnknownHistoryError, match=r"git fetch origin main"):
        released.find(tmp_path / "clone" / "db" / "migrations")


def test_directory_without_git_is_an_unknown_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UnknownHistoryError, match="not a git repository"):
        released.find(tmp_path)


def test_machine_without_git_is_an_unknown_history(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository.root))
    with pytest.raises(UnknownHistoryError, match="git cannot be run"):
        released.find(repository.directory)


def test_what_git_says_is_passed_on_with_the_way_out(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = tmp_path / "git"
    git.write_text(
        "#!/bin/sh\nprintf 'fatal: detected dubious ownership\\nTo add it, call:\\n\\tgit config\\n' >&2\nexit 128\n"
    )
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UnknownHistoryError, match="dubious ownership To add it, call: git config"):
        released.find(repository.directory)


def test_hook_that_names_another_index_does_not_mislead(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.git("tag", "v1.0.0")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert len(repository.known()) == 2


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Return a repository whose main branch has this repository's baseline, as the working directory."""
    made = Repository(tmp_path / "copy")
    for file in (ROOT / "db" / "migrations").glob("000[1-6]_*.sql"):
        (made.directory / file.name).write_bytes(file.read_bytes())
    made.commit()
    monkeypatch.chdir(made.root)
    for name in ("CI", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    return made


def run(copy: Repository, *names: str) -> int:
    paths = [str(copy.directory / name) for name in names]
    return lint.main(["--migrations", str(copy.directory), *paths])


def test_command_prints_findings_of_all_kinds_and_fails(
    copy: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "0006_drop_sector.sql"
    copy.git("tag", "v1.0.0")
    (copy.directory / "0007_drop_sector.sql").write_text(
        f"{HEADER}ALTER TABLE tickers DROP COLUMN sector;\n"
        "-- lint: allow ban-drop-column because no client reads it\n"
        "ALTER TABLE public.tickers DROP COLUMN name;\n"
    )
    (copy.directory / name).write_text(f"{HEADER}SELECT 1 AS one;\n")
    assert run(copy, name, "0007_drop_sector.sql") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines[:-1]] == [
        [f"db/migrations/{name}:1:1:", "migration"],
        ["db/migrations/0007_drop_sector.sql:5:13:", "KM07"],
        ["db/migrations/0007_drop_sector.sql:5:21:", "ban-drop-column"],
        [f"db/migrations/{name}:1:1:", "released-number"],
    ]
    assert " ".join(lines[-1].split()) == "FAIL 4 findings in 2 files; released: 6, tag v1.0.0"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert run(copy, name, "0007_drop_sector.sql") == 1
    annotations = [line for line in capsys.readouterr().err.splitlines() if line.startswith("::error ")]
    assert len(annotations) == 4
    assert annotations[1].startswith("::error title=KM07,file=db/migrations/0007_drop_sector.sql,line=5,col=13::")


def test_command_passes_on_main_without_a_tag_in_ci(
    copy: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "true")
    assert run(copy, "0001_create_timescaledb_extension.sql") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said == "ok 0 findings in 1 file; released: 0, there is no version tag"


@pytest.mark.parametrize("in_ci", [False, True])
def test_command_says_that_history_is_unknown_and_fails_in_ci(
    copy: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_ci: bool
) -> None:
    copy.git("branch", "--move", "trunk")
    if in_ci:
        monkeypatch.setenv("CI", "true")
    assert run(copy, "0001_create_timescaledb_extension.sql") == int(in_ci)
    said = capsys.readouterr().out
    assert said.split()[0] == ("FAIL" if in_ci else "warning")
    assert "it is not known whether released migrations are unchanged" in said


def test_commit_for_the_ledger_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(released, "_GIT_SECONDS_MEANWHILE", 0.2)
    began = time.monotonic()
    assert released.checked_out(tmp_path) == ""
    assert time.monotonic() - began < 30
