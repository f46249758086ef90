#!/usr/bin/env python3
"""Writes a bill of materials of the binary: CycloneDX 1.5 JSON of the crates that are linked into it, for the machine
it is built for. No build scripts, macros or test dependencies, no time and no path: the same sources give the same
bytes.

    scripts/sbom.py [FILE]      default: target/eventlogger.cdx.json
"""

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
COMPILER = re.search(r"host: (\S+)", subprocess.check_output(["rustc", "-vV"], text=True))[1]
LOCKED = re.compile(r'name = "(.+)"\nversion = "(.+)"\nsource = "(.+)"\nchecksum = "(.+)"')


def tree():
    """Each crate of the build with its depth, as `cargo` resolves it without what only tests need."""
    command = ["cargo", "tree", "--locked", "--manifest-path", ROOT / "Cargo.toml", "--target", COMPILER]
    command += ["--edges", "normal,no-proc-macro", "--prefix", "depth", "--charset", "ascii"]
    tree = subprocess.check_output([*command, "--format", "|{p}|{l}|{r}"], text=True, cwd=ROOT)
    for line in tree.splitlines():
        depth, package, licence, repository = line.split("|")
        name, version, *_ = package.split()
        yield int(depth), name, version.removeprefix("v"), licence, repository.removesuffix("(*)").strip()


def component(name, version, licence, repository, checksum):
    purl = f"pkg:cargo/{name}@{quote(version)}"
    described = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if licence:
        # What crates wrote before there were expressions.
        described["licenses"] = [{"expression": licence.replace("/", " OR ")}]
    if repository:
        described["externalReferences"] = [{"type": "vcs", "url": repository}]
    return described


def bill():
    checksums = {(name, version): sum for name, version, _, sum in LOCKED.findall((ROOT / "Cargo.lock").read_text())}
    components, needs, above = {}, {}, []
    for depth, name, version, licence, repository in tree():
        found = component(name, version, licence, repository, checksums.get((name, version)))
        purl = found["purl"]
        components.setdefault(purl, found)
        needs.setdefault(purl, set())
        above[depth:] = [purl]
        if depth > 0:
            needs[above[depth - 1]].add(purl)
    service, *libraries = components.values()
    service["type"] = "application"
    libraries.sort(key=lambda library: library["purl"])
    made_of = json.dumps([service, libraries])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, made_of).urn,
        "version": 1,
        "metadata": {
            "component": service,
            "properties": [{"name": "cdx:rustc:sbom:target:triple", "value": COMPILER}],
        },
        "components": libraries,
        "dependencies": [{"ref": purl, "dependsOn": sorted(needs[purl])} for purl in sorted(needs)],
    }


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    file = Path(sys.argv[1]) if len(sys.argv) == 2 else ROOT / "target/eventlogger.cdx.json"
    file.write_text(json.dumps(bill(), indent=1) + "\n")
    print(file)
