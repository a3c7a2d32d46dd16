"""Says what ``pip-audit --format=json`` (standard input) found, and of how many packages no advisory could be read.

pip-audit ends with "No known vulnerabilities found" and status 0 too where its registry answered for no package at all.
"""

import json
import sys
from collections.abc import Iterator, Mapping

_NOT = "NOT COMPARED with published advisories"


def lines(audit: Mapping) -> Iterator[str]:
    packages = audit["dependencies"]
    compared = [package for package in packages if "vulns" in package]
    holes = [(package, hole) for package in compared for hole in package["vulns"]]
    for package, hole in holes:
        mended = ", ".join(hole["fix_versions"]) or "no version yet"
        yield f"{package['name']} {package['version']}: {hole['id']}, mended in {mended}"
    if compared:
        yield f"{len(compared)} of {len(packages)} packages compared with published advisories: {len(holes)} known holes"
    else:
        yield f"{_NOT}: the registry answers for none of the packages asked ({len(packages)})"


def main() -> int:
    """Status 1 if nothing was compared."""
    try:
        audit = json.load(sys.stdin)
    except ValueError:  # it was ended, or is not there
        print(f"{_NOT}: pip-audit did not run, or had no time or network")
        return 1
    print(*lines(audit), sep="\n")
    return int(not any("vulns" in package for package in audit["dependencies"]))


if __name__ == "__main__":
    sys.exit(main())
