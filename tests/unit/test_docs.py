"""README and docs: their links, what they promise about themselves, and the layers that CONTRIBUTING.md names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dbops.settings import ROOT
from tests.support.docs_pages import PAGES, blocks


def layers(package: str) -> dict[str, int]:
    """Return the numbers of a package's modules as CONTRIBUTING.md shows them: each imports what has a lower one."""
    picture = re.search(
        rf"^  {re.escape(package)}:([^:`]*)(?=^  )", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    assert picture
    groups = [group.split(",") for group in picture[1].split(">")]
    return {name.strip(): number for number, names in enumerate(reversed(groups)) for name in names}


def test_readme_has_fewer_than_150_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"(?:\]\(|src=\")(?!https?:)([^)\"\s]+)[)\"]", page.read_text()):
        path, _, anchor = link.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), link
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if anchor else []
        slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_marks_above_commands_give_a_reason_or_an_exit_code(page: Path) -> None:
    for block in blocks(page):
        if block.mark:
            assert block.language == "sh", f"{page.name}:{block.line}"
            assert re.fullmatch(r"not run: .{10,}|exit code: [1-9]\d*", block.mark), f"{page.name}:{block.line}"


def test_pages_are_reachable_from_the_readme() -> None:
    seen, open_pages = set[Path](), [ROOT / "README.md"]
    while open_pages:
        page = open_pages.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = re.findall(r"\]\((?!https?:)([^)#\s]+)[^)\s]*\)", page.read_text())
        open_pages += [(page.parent / link).resolve() for link in links]
    assert set(PAGES) <= seen


def test_imports_go_one_way() -> None:
    wrong, numbers = [], layers("dbops")
    for path in sorted((ROOT / "dbops").rglob("*.py")):
        own = path.relative_to(ROOT / "dbops").with_suffix("").parts[0]
        # What `python -m` runs shows results, as a verb does.
        layer = numbers["verb"] if path.stem == "__main__" else numbers.get(own, 0)
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] != "dbops":
                continue
            words = (node.module or "").split(".")
            for name in [words[1]] if len(words) > 1 else [alias.name for alias in node.names]:
                if name not in (own, "__version__") and numbers[name] >= layer:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("package", ["migrations", "database", "postgres"])
def test_imports_inside_a_package_go_one_way(package: str) -> None:
    wrong, numbers = [], layers(f"dbops.{package}")
    modules = {path.stem: path for path in (ROOT / "dbops" / package).glob("[!_]*.py")}
    assert numbers.keys() == modules.keys(), "CONTRIBUTING.md draws other modules than there are"
    for own, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(f"dbops.{package}"):
                continue
            module = (node.module or "").removeprefix(f"dbops.{package}").strip(".")
            for name in [module] if module else [alias.name for alias in node.names]:
                if numbers.get(name, -1) >= numbers[own]:
                    wrong.append(f"{own} imports {name}")
    assert wrong == []


def test_only_the_report_imports_rich() -> None:
    imports = re.compile(r"^\s*(?:from|import) rich\b", re.MULTILINE)
    found = {
        path.relative_to(ROOT / "dbops").parts[0]
        for path in (ROOT / "dbops").rglob("*.py")
        if imports.search(path.read_text())
    }
    assert found <= {"report"}


def test_contributing_names_code_that_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`(\w+)`(?: and `(\w+)`)? in `([\w/.]+\.py)`", text)
    assert len(named) >= 4
    for first, second, path in named:
        code = (ROOT / path).read_text()
        for name in filter(None, (first, second)):
            assert re.search(rf"^(?:def {name}\(|class {name}\b|{name} = )", code, re.MULTILINE), f"{name} in {path}"


@pytest.mark.parametrize(("number", "schema"), [(0, "vendor.github-workflows"), (1, "vendor.gitlab-ci")])
def test_job_files_are_valid(number: int, schema: str, tmp_path: Path) -> None:
    jobs = [block.text for block in blocks(ROOT / "docs" / "ci.md") if block.language == "yaml"]
    (tmp_path / "jobs.yml").write_text(jobs[number])
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(tmp_path / "jobs.yml")]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
