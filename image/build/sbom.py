"""Prints a CycloneDX 1.6 bill of materials: Debian's packages and the crates of three programs."""

import argparse
import datetime
import hashlib
import json
import pathlib
import subprocess
import uuid

PROGRAMS = ("holdfast", "holdfast-volume", "holdfast-transcode")


def debian(path):
    for line in path.read_text().splitlines():
        name, version, arch, source, source_version = line.split("\t")
        purl = f"pkg:deb/debian/{name}@{version}?arch={arch}&distro=trixie"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            "properties": [
                {"name": "debian:source", "value": source},
                {"name": "debian:source-version", "value": source_version},
            ],
        }


def crates(repo):
    """What the programs are built of: no crate of tests, none of other systems."""
    said = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"],
        cwd=repo, check=True, capture_output=True, text=True,
    ).stdout
    data = json.loads(said)
    packages = {it["id"]: it for it in data["packages"]}
    nodes = {it["id"]: it for it in data["resolve"]["nodes"]}
    queue = [it["id"] for it in data["packages"] if it["name"] in PROGRAMS and it["source"] is None]
    seen = set()
    while queue:
        now = queue.pop()
        if now in seen:
            continue
        seen.add(now)
        for dependency in nodes[now]["deps"]:
            # A dependency that only tests have comes with no other kind.
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                queue.append(dependency["pkg"])
    for package in sorted((packages[it] for it in seen), key=lambda it: (it["name"], it["version"])):
        purl = f"pkg:cargo/{package['name']}@{package['version']}"
        component = {
            "type": "library",
            "bom-ref": purl,
            "name": package["name"],
            "version": package["version"],
            "purl": purl,
        }
        if package["license"]:
            component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        yield component


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--version", required=True)
    arguments.add_argument("--time", type=int, required=True)
    for name in ("--debian", "--cargo", "--programs"):
        arguments.add_argument(name, type=pathlib.Path, required=True)
    given = arguments.parse_args()
    components = sorted(debian(given.debian), key=lambda it: it["bom-ref"]) + list(crates(given.cargo))
    for name in PROGRAMS:
        digest = hashlib.sha256((given.programs / name).read_bytes()).hexdigest()
        components.append({
            "type": "application",
            "bom-ref": f"program:{name}",
            "name": name,
            "version": given.version,
            "hashes": [{"alg": "SHA-256", "content": digest}],
        })
    time = datetime.datetime.fromtimestamp(given.time, datetime.timezone.utc)
    content = json.dumps(components, sort_keys=True)
    print(json.dumps({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, content)),
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "operating-system", "name": "holdfast", "version": given.version},
        },
        "components": components,
    }, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
