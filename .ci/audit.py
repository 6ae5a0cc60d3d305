"""Known vulnerabilities of the locked packages: `make audit`.

pip-audit asks two databases of advisories, one after the other. A machine that reaches none says so
in a line and goes on; a vulnerability ends it with status 1, unless `.ci/accepted-advisories.txt`
has it, with a reason.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOCKS = [HERE.parent / f"requirements-{kind}.txt" for kind in ("dev", "gpu")]
"""Both have all of requirements.txt, too."""
ACCEPTED = HERE / "accepted-advisories.txt"
SERVICES = ("pypi", "osv")
UNREACHABLE = ("ConnectionError", "Timeout", "HTTPError", "SSLError", "ProxyError")


def accepted(text: str) -> dict[str, str]:
    """Advisory -> reason, of lines `ID reason`.

    Raises:
        SystemExit: a line without a reason.
    """
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.strip().partition(" ")
            if not reason:
                sys.exit(f"audit: {ACCEPTED.name}: {name} lacks a reason")
            found[name] = reason.strip()
    return found


def ask(service: str) -> list[dict[str, Any]]:
    """What a database says of each locked package; nothing where it can't be reached.

    Raises:
        SystemExit: pip-audit failed for another reason.
    """
    command = ["-m", "pip_audit", "--disable-pip", "--require-hashes"]
    command += [word for lock in LOCKS for word in ("--requirement", str(lock))]
    command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(
        [sys.executable, *command, "--timeout", "15"], capture_output=True, text=True
    )
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except ValueError:  # it prints no report when the connection fails
        if any(word in done.stderr for word in UNREACHABLE):
            return []
        why = (done.stderr.strip() or "it printed nothing").splitlines()[-1]
        sys.exit(f"audit: pip-audit failed: {why}")


def judge(packages: list[dict[str, Any]], reasons: dict[str, str]) -> tuple[list[str], bool]:
    """Lines to print, and whether all is well.

    Args:
        packages: of pip-audit; those with a `skip_reason` were not looked up.
        reasons: of `accepted`.
    """
    looked_up = [package for package in packages if "skip_reason" not in package]
    if not looked_up:
        return ["audit: no database of advisories can be reached here: nothing was checked"], True
    lines, well = [f"audit: {len(looked_up)} of {len(packages)} locked packages checked"], True
    for package in looked_up:
        for flaw in package["vulns"]:
            names = {flaw["id"], *flaw["aliases"]}
            reason = next((reasons[name] for name in sorted(names) if name in reasons), None)
            mended = ", ".join(flaw["fix_versions"]) or "no version yet"
            says = f"accepted: {reason}" if reason else f"mended in {mended}"
            lines.append(f"audit: {package['name']} {package['version']}: {flaw['id']}, {says}")
            well &= reason is not None
    return lines, well


def main() -> None:
    """Ask, print, end with status 1 where something is wrong."""
    reasons = accepted(ACCEPTED.read_text())
    packages: list[dict[str, Any]] = []
    for service in SERVICES:
        packages = ask(service)
        if any("skip_reason" not in package for package in packages):
            break
    lines, well = judge(packages, reasons)
    print("\n".join(lines))
    sys.exit(not well)


if __name__ == "__main__":
    main()
