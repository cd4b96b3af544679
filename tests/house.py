"""Checks the sizes of the package's modules and folders; `make check` runs it as `python -m tests.house`."""

from __future__ import annotations

import sys
from pathlib import Path

MOST_MODULES = 12
MOST_LINES = 400
PACKAGE = Path(__file__).resolve().parent.parent / "fluxshard"


def crowded(package: Path) -> list[str]:
    """Folders of a package with too many modules, one line each; `__init__.py` does not count."""
    found = []
    for folder in sorted({path.parent for path in package.rglob("*.py")}):
        count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        if count > MOST_MODULES:
            found.append(
                f"{folder.relative_to(package.parent)} has {count} modules; {MOST_MODULES} are allowed: "
                "move those that belong together into a folder of their own"
            )
    return found


def long(package: Path) -> list[str]:
    """Modules of a package with too many lines, one line each."""
    found = []
    for path in sorted(package.rglob("*.py")):
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > MOST_LINES:
            found.append(
                f"{path.relative_to(package.parent)} has {count} lines; {MOST_LINES} are allowed: "
                "cut it where one idea ends and the next begins"
            )
    return found


def main(package: Path = PACKAGE) -> int:
    """Prints what is too large; returns 1 if anything is, else 0."""
    found = [*crowded(package), *long(package)]
    for line in found:
        print(line, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
