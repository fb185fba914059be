#!/usr/bin/python3
"""Finds the recordings of a vault that were never delivered, and copies them. Called by `rescue export`.

What a manifest says is node/core/src/recording/; what follows from it here is push_order.rs. Only
files that no rule and nobody has decided to delete are copied: a copy must not undo a deletion.

A file is written as NAME.part, synced, read back past the page cache, noted in SHA256SUMS and then given
its name: what has its name is whole, so that an interrupted export goes on where it was.
"""

import argparse
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import stat
import struct
import sys
from datetime import datetime, timezone

from blocks import Progress, Wrong

PIECE = 4 << 20
MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 256 << 10
NAMES = {
    "main": "main.mp4",
    "raw": "raw",
    "snapshot": "snapshot.jpg",
    "filmstrip": "filmstrip.jpg",
    "filmstrip_vtt": "filmstrip.vtt",
}
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HEAD = ("id", "volume", "state", "why", "env_id", "account_id", "received_at", "saved_at")
COLUMNS = ("recording", *HEAD[1:], "file", "bytes", "sha256", "as_noted", "problem")
ENDED = ("garbage", "deleted")
CONCLUDED = ("stored", "delivered")
SUMS = "SHA256SUMS"
KEYED = (
    'it is encrypted with a key of its own (vault.erasure = "keys"), which only the box itself opens: '
    "put the disk back into a box"
)
FS_IOC_GETFLAGS = 0x80086601
FS_ENCRYPT_FL = 0x800


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_enabled(policy, kind):
    outputs = policy["outputs"]
    if kind == "raw":
        return policy["push_raw"] or not outputs["mp4"]
    return bool(outputs[{"main": "mp4", "filmstrip_vtt": "filmstrip"}.get(kind, kind)])


def is_local(file):
    return file.get("doomed") is None and file.get("deleted_at") is None


def pending(recording, file):
    """The destinations that have still to get a file."""
    has = {pushed["destination"] for pushed in file["pushed"]}
    if not is_enabled(recording["policy"], file["kind"]):
        return []
    return [name for name in recording["policy"]["destinations"] if name not in has]


def wanted(recording, is_all):
    """Which kinds of file are copied, and why; or no kind, and why not."""
    local = [file for file in recording["files"] if is_local(file)]
    kinds = [file["kind"] for file in local]
    state = recording["state"]
    if state in ENDED:
        return [], "ended"
    if not kinds:
        return [], "nothing_left"
    if recording.get("hold"):
        return kinds, "legal hold"
    if state not in CONCLUDED:
        return kinds, f"not delivered: {state}"
    if not recording["policy"]["destinations"]:
        return kinds, "kept on the box only: it has no destination"
    missing = [file["kind"] for file in local if pending(recording, file)]
    if is_all:
        return kinds, f"not delivered in part: {state}" if missing else f"all: {state}"
    return (missing, f"not delivered in part: {state}") if missing else ([], "delivered")


def is_keyed(volume, name):
    """Whether a recording's folder is encrypted by the file system, as far as this kernel can say."""
    if os.path.exists(os.path.join(volume, "keys", name)):
        return True
    try:
        folder = os.open(os.path.join(volume, "recordings", name), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        return error.errno in (errno.EOPNOTSUPP, errno.ENOKEY, errno.EACCES)
    try:
        flags = fcntl.ioctl(folder, FS_IOC_GETFLAGS, bytes(8))
        return bool(struct.unpack("L", flags)[0] & FS_ENCRYPT_FL)
    except OSError:
        return False
    finally:
        os.close(folder)


def open_source(path):
    """A regular file of the vault; links are not followed."""
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(source).st_mode):
        os.close(source)
        raise OSError(errno.EINVAL, "it is no file", path)
    return os.fdopen(source, "rb")


def manifest_of(folder):
    with open_source(os.path.join(folder, MANIFEST)) as file:
        recording = json.loads(file.read(MANIFEST_BYTES_MAX + 1))
    # What is read of it below has to be there.
    for name in ("id", "env_id", "state", "policy", "files"):
        recording[name]  # pylint: disable=pointless-statement
    if recording["id"] != os.path.basename(folder):
        raise ValueError("it is another recording's")
    for file in recording["files"]:
        if is_local(file):
            NAMES[file["kind"]], file["bytes"], pending(recording, file)  # pylint: disable=expression-not-assigned
    return recording


def entry_of(volume, folder, is_all):
    """What is to be copied of a folder, as the index has it; a word where nothing is."""
    name = os.path.basename(folder)
    why = "its manifest is missing"
    entry = {"id": name, "volume": volume, "state": "unknown", "why": why}
    sums, kinds = {}, list(NAMES)
    try:
        recording = manifest_of(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EIO:
            raise
        if not isinstance(error, FileNotFoundError):
            entry["why"] = f"its manifest is damaged ({type(error).__name__})"
    else:
        kinds, why = wanted(recording, is_all)
        if not kinds:
            return why
        gone = {file["kind"] for file in recording["files"] if not is_local(file)}
        sums = {file["kind"]: file.get("sha256") for file in recording["files"]}
        entry.update(
            state=recording["state"],
            why=why,
            env_id=recording["env_id"],
            account_id=recording.get("account_id"),
            received_at=recording.get("received_at"),
            saved_at=recording.get("saved_at"),
        )
        # A film that was just made may not be in the manifest yet.
        if why.startswith(("not delivered: ", "legal hold")):
            kinds += [kind for kind in NAMES if kind not in kinds and kind not in gone]
    noted = set(sums)
    files, missing = [], []
    for kind, file in [("manifest", MANIFEST)] + [(kind, NAMES[kind]) for kind in kinds]:
        try:
            size = os.lstat(os.path.join(folder, file))
        except FileNotFoundError:
            if kind in noted:
                missing.append(file)
            continue
        if stat.S_ISREG(size.st_mode):
            files.append({"name": file, "kind": kind, "bytes": size.st_size, "noted": sums.get(kind)})
    entry["files"], entry["missing"] = files, missing
    return entry


def plan(arguments):
    """Writes what is to be copied, and what cannot be."""
    found, left, skipped = [], [], {}
    for pair in arguments.volume:
        volume, _, path = pair.partition("=")
        place = os.path.join(path, "recordings")
        try:
            names = sorted(os.listdir(place))
        except OSError as error:
            why = f"it has no recordings that can be read: {error.strerror}"
            left.append({"volume": volume, "why": why})
            continue
        for name in names:
            if not ID.fullmatch(name):
                left.append({"id": name, "volume": volume, "why": "it is no recording's folder"})
            elif is_keyed(path, name):
                left.append({"id": name, "volume": volume, "why": KEYED})
            else:
                try:
                    entry = entry_of(volume, os.path.join(place, name), arguments.all)
                except OSError as error:
                    why = f"it cannot be read: {error.strerror}"
                    left.append({"id": name, "volume": volume, "why": why})
                    continue
                if isinstance(entry, str):
                    skipped[entry] = skipped.get(entry, 0) + 1
                else:
                    found.append(entry)
                    for file in entry.pop("missing"):
                        why = "it is not in the vault"
                        left.append({"id": name, "volume": volume, "file": file, "why": why})
    files = [file for entry in found for file in entry["files"]]
    # A block for what is begun of each, and one for its name.
    size = sum((file["bytes"] + 4095) // 4096 * 4096 + 8192 for file in files)
    counts = {"left_out": skipped, "files": len(files), "bytes": size}
    with open(arguments.out, "w", encoding="utf-8") as out:
        json.dump({"recordings": found, "not_copied": left, **counts}, out)


class Target:
    """A folder for recordings, and what it has of them already."""

    def __init__(self, path):
        self.path, self.sums = path, {}
        line = "\n"
        try:
            with open(os.path.join(path, SUMS), encoding="utf-8") as file:
                for line in file:
                    digest, _, name = line.rstrip("\n").partition("  ")
                    if re.fullmatch("[0-9a-f]{64}", digest) and name:
                        self.sums[name] = digest
        except FileNotFoundError:
            pass
        # pylint: disable-next=consider-using-with
        self.noting = open(os.path.join(path, SUMS), "a", encoding="utf-8")
        if not line.endswith("\n"):
            # A power cut came in the middle of it.
            self.noting.write("\n")

    def digest(self, name):
        """What a file on the disk is, whatever the page cache has of it."""
        digest = hashlib.sha256()
        with open(os.path.join(self.path, name), "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while piece := file.read(PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def has(self, name, size):
        """The digest of a file that is there, whole."""
        path = os.path.join(self.path, name)
        if name not in self.sums or not os.path.isfile(path) or os.path.getsize(path) != size:
            return None
        return self.sums[name] if self.digest(name) == self.sums[name] else None

    def put(self, name, source, progress):
        """Copies a file; its digest."""
        new, digest = f"{name}.part", hashlib.sha256()
        with open(os.path.join(self.path, new), "wb") as out:
            while piece := read(source):
                digest.update(piece)
                out.write(piece)
                progress.add(len(piece))
            out.flush()
            os.fsync(out.fileno())
        if self.digest(new) != digest.hexdigest():
            raise Wrong(f"{name} does not read back as it was written: the target is bad. Use another")
        self.noting.write(f"{digest.hexdigest()}  {name}\n")
        self.noting.flush()
        os.fsync(self.noting.fileno())
        os.rename(os.path.join(self.path, new), os.path.join(self.path, name))
        sync(os.path.dirname(os.path.join(self.path, name)))
        self.sums[name] = digest.hexdigest()
        return digest.hexdigest()

    def write(self, name, text):
        new = os.path.join(self.path, f"{name}.part")
        with open(new, "w", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.rename(new, os.path.join(self.path, name))
        sync(self.path)


class Unreadable(Exception):
    """The box's disk does not give a file out."""


def read(source):
    try:
        return source.read(PIECE)
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror}") from error


def sync(folder):
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy_recording(entry, vault, target, progress):
    """Copies what is missing of one; how many files, how many bytes, and what could not be."""
    folder = os.path.join("recordings", entry["id"])
    os.makedirs(os.path.join(target.path, folder), exist_ok=True)
    copied, count, failed, files = 0, 0, [], []
    for file in entry["files"]:
        name = os.path.join(folder, file["name"])
        digest = target.has(name, file["bytes"])
        if digest:
            progress.add(file["bytes"])
        else:
            try:
                with open_source(os.path.join(vault, folder, file["name"])) as source:
                    digest = target.put(name, source, progress)
                copied, count = copied + 1, count + file["bytes"]
            except (Unreadable, OSError) as error:
                # Of the box's disk the others may be readable; of the target no more can be expected.
                if isinstance(error, OSError) and not str(error.filename).startswith(vault + os.sep):
                    raise
                why = error.strerror if isinstance(error, OSError) else str(error)
                failed.append({"id": entry["id"], "volume": entry["volume"], "file": file["name"], "why": why})
                continue
        is_same = None if file["noted"] is None else file["noted"] == digest
        kept = {name: file[name] for name in ("name", "kind", "bytes")}
        files.append({**kept, "sha256": digest, "as_noted": is_same})
    entry["files"] = files
    return copied, count, failed


def rows(index):
    """The index as a table: a line for each file, and for what was not copied."""
    words = {None: "", True: "yes", False: "NO"}
    yield COLUMNS
    for entry in index["recordings"]:
        head = [entry.get(name) for name in HEAD]
        for file in entry["files"]:
            name = f"recordings/{entry['id']}/{file['name']}"
            yield head + [name, file["bytes"], file["sha256"], words[file["as_noted"]], ""]
    for left in index["not_copied"]:
        nothing = [""] * (len(HEAD) - 2)
        yield [left.get("id"), left["volume"], *nothing, left.get("file"), "", "", "", left["why"]]


def write_index(target, index):
    table = io.StringIO()
    csv.writer(table).writerows(rows(index))
    target.write("index.csv", table.getvalue())
    # With those of an earlier export onto this disk that was of more.
    names = sorted(name for name in target.sums if os.path.isfile(os.path.join(target.path, name)))
    target.write(SUMS, "".join(f"{target.sums[name]}  {name}\n" for name in names))
    target.write("index.json", json.dumps(index, indent=1) + "\n")


def copy(arguments):
    """Copies what is missing, and writes the index."""
    with open(arguments.plan, encoding="utf-8") as file:
        todo = json.load(file)
    with open(arguments.box, encoding="utf-8") as file:
        box = json.load(file)
    vaults = dict(pair.split("=", 1) for pair in arguments.volume)
    target = Target(arguments.target)
    os.makedirs(os.path.join(target.path, "recordings"), exist_ok=True)
    entries, left = todo["recordings"], todo["not_copied"]
    progress = Progress("copy", sum(file["bytes"] for entry in entries for file in entry["files"]))
    copied, size, there = 0, 0, 0
    for entry in entries:
        files, bytes_copied, failed = copy_recording(entry, vaults[entry["volume"]], target, progress)
        there_already = len(entry["files"]) - files
        copied, size, there = copied + files, size + bytes_copied, there + there_already
        left += failed
        if not progress.is_shown:
            said = f"{entry['id']}: {files} files copied, {there_already} there already"
            print(said, file=sys.stderr, flush=True)
    progress.end()
    changed = [
        {"id": entry["id"], "file": file["name"]}
        for entry in entries
        for file in entry["files"]
        if file["as_noted"] is False
    ]
    common = {"not_copied": left, "left_out": todo["left_out"], "not_as_noted": changed}
    write_index(target, {"made_at": now(), "box": box, "recordings": entries, **common})
    counts = {"recordings": len(entries), "files_copied": copied, "bytes_copied": size, "files_there": there}
    print(json.dumps({**counts, **common, "verified": True}))


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("plan")
    verb.set_defaults(act=plan)
    verb.add_argument("--all", action="store_true")
    verb.add_argument("--out", required=True)
    verb.add_argument("--volume", action="append", default=[])
    verb = verbs.add_parser("copy")
    verb.set_defaults(act=copy)
    for name in ("--plan", "--box", "--target"):
        verb.add_argument(name, required=True)
    verb.add_argument("--volume", action="append", default=[])
    arguments = parser.parse_args()
    try:
        arguments.act(arguments)
    except Wrong as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        what = f"{error.filename or 'the target'}: {error.strerror}"
        sys.exit(f"error: {what}. What was copied is whole")


if __name__ == "__main__":
    main()
