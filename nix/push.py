"""Sets in a kustomization's `images:` which registry, tag and digest an image has.

    push.py KUSTOMIZATION NAME NEW_NAME TAG DIGEST

The entry is the one called NAME, or the one that puts NAME in another's place (its newName ends in NAME). Nothing else of the file
changes: comments stay. Exit status 3: there is no such entry.
"""

import re
import sys
from pathlib import Path

ENTRY = re.compile(r"^\s*- +name:")


def entries(lines: list[str]) -> list[tuple[int, int]]:
    """From and to (exclusive) of each entry of `images:`."""
    found = []
    inside = False
    for number, line in enumerate(lines):
        if re.match(r"^\S", line) and not line.startswith("#"):
            inside = line.rstrip() == "images:"
        elif inside and ENTRY.match(line):
            end = number + 1
            while end < len(lines) and re.match(r"^\s+\w+:", lines[end]):
                end += 1
            found.append((number, end))
    return found


def value(entry: list[str], key: str) -> str | None:
    for line in entry:
        if match := re.match(rf"^[\s-]*{key}: *['\"]?([^\s'\"]+)", line):
            return match[1]
    return None


def main() -> int:
    file, name, new_name, tag, digest = sys.argv[1:]
    path = Path(file)
    lines = path.read_text().splitlines()
    for start, end in entries(lines):
        entry = lines[start:end]
        theirs = value(entry, "newName") or ""
        if name not in (value(entry, "name"), theirs.rsplit("/", 1)[-1]):
            continue
        indent = " " * (len(entry[0]) - len(entry[0].lstrip(" -")))
        ours = {"newName": new_name, "newTag": tag, "digest": digest}
        kept = [line for line in entry if line.strip().split(":")[0] not in ours]
        lines[start:end] = kept + [f"{indent}{key}: {to}" for key, to in ours.items()]
        path.write_text("\n".join(lines) + "\n")
        return 0
    return 3


sys.exit(main())
