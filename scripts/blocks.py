#!/usr/bin/python3
"""Writes the mapped blocks of an image to a disk and reads them back. Called by `flash`.

The first MiB, which has the partition table, is written last and by itself. Until then a note lies in
its place: firmware finds nothing to start on a disk that is half written, and `flash --verify` can
say why. Nothing is believed to be written until it was read back past the page cache.
"""

import argparse
import hashlib
import json
import mmap
import os
import stat
import subprocess
import sys
import time
from xml.etree import ElementTree

MIB = 1 << 20
# What is written last.
HEAD = MIB
# One read or write.
PIECE = 4 * MIB
# How much may wait in the page cache, so that the progress shown is the disk's.
UNSYNCED_MAX = 64 * MIB
# Where old LUKS headers begin, and how much of them is destroyed: LUKS2 keeps its keys in 16 MiB.
OLD_HEADER = 16 * MIB
# Blank space behind the image, where the first start makes its own partitions.
BEHIND_IMAGE = 32 * MIB
# The backup of a partition table lies in the last sectors.
OLD_TAIL = MIB
NOTE = b"holdfast: writing this disk was not finished; flash it again\n"
ZEROS = bytes(PIECE)
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


class Wrong(Exception):
    """Something that a person should read."""


class Bmap:
    """Which blocks of an image have content, as bmaptool 2.0 writes it."""

    def __init__(self, path):
        try:
            root = ElementTree.parse(path).getroot()
            self.size = int(root.findtext("ImageSize"))
            block = int(root.findtext("BlockSize"))
            kind = root.findtext("ChecksumType").strip()
            self.ranges = []
            for found in root.find("BlockMap"):
                first, _, last = found.text.strip().partition("-")
                start, end = int(first) * block, (int(last or first) + 1) * block
                self.ranges.append((start, min(end, self.size), found.get("chksum")))
        except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
            raise Wrong(f"{path} is no block map of bmaptool: {error}") from error
        if kind != "sha256" or not all(checksum for _, _, checksum in self.ranges):
            raise Wrong(f"{path} has checksums of the kind {kind}; sha256 is needed")
        place = 0
        for start, end, _ in self.ranges:
            if not place <= start < end <= self.size:
                raise Wrong(f"{path} has ranges out of order or past the end of the image")
            place = end
        self.mapped = sum(end - start for start, end, _ in self.ranges)


class Progress:
    """A bar on a terminal; nothing elsewhere."""

    def __init__(self, what, total):
        self.what, self.total, self.done = what, max(total, 1), 0
        self.begun = self.shown = time.monotonic()
        self.is_shown = sys.stderr.isatty()

    def add(self, count):
        self.done += count
        now = time.monotonic()
        if self.is_shown and now - self.shown > 0.2:
            self.shown = now
            self.draw(now)

    def draw(self, now):
        share = min(self.done / self.total, 1)
        rate = self.done / max(now - self.begun, 0.001)
        left = int((self.total - self.done) / rate) if rate else 0
        bar = ("#" * int(30 * share)).ljust(30, ".")
        sys.stderr.write(
            f"\r{self.what:<9} [{bar}] {share:4.0%}  {rate / 1e6:6.1f} MB/s"
            f"  {left // 60:3d}:{left % 60:02d} left "
        )
        sys.stderr.flush()

    def end(self):
        if self.is_shown:
            self.done = self.total
            self.draw(time.monotonic())
            sys.stderr.write("\n")


class Image:
    """The content of a compressed image, read once from its beginning."""

    def __init__(self, path):
        self.path, self.place = path, 0
        # pylint: disable-next=consider-using-with
        self.zstd = subprocess.Popen(["zstd", "-dcq", path], stdout=subprocess.PIPE)

    def read(self, count):
        content = self.zstd.stdout.read(count)
        if len(content) != count:
            raise Wrong(f"{self.path} ends early, or is no zstd file; fetch it again")
        self.place += count
        return content

    def pieces(self, start, end):
        """What lies from start to end; start is not before where the last read ended."""
        while self.place < start:
            self.read(min(PIECE, start - self.place))
        while self.place < end:
            yield self.read(min(PIECE, end - self.place))

    def close(self):
        self.zstd.kill()
        self.zstd.stdout.close()
        self.zstd.wait()


class Target:
    """A disk, or a file."""

    def __init__(self, path, is_written):
        self.path, self.unsynced = path, 0
        flags = (os.O_RDWR if is_written else os.O_RDONLY) | os.O_CLOEXEC
        is_block = stat.S_ISBLK(os.stat(path).st_mode)
        if is_block and is_written:
            # The kernel refuses where anything is mounted or mapped, and lets nothing be until the end.
            flags |= os.O_EXCL
        try:
            self.fd = os.open(path, flags)
        except OSError as error:
            raise Wrong(f"{path} cannot be opened: {error.strerror}. Is something on it in use?") from error
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        self.direct = None
        self.buffer = mmap.mmap(-1, PIECE)

    def write(self, place, content):
        view = memoryview(content)
        while view:
            try:
                count = os.pwrite(self.fd, view, place)
            except OSError as error:
                raise Wrong(f"writing {self.path} failed at byte {place}: {error.strerror}") from error
            place, view, self.unsynced = place + count, view[count:], self.unsynced + count
        if self.unsynced >= UNSYNCED_MAX:
            self.sync()

    def zero(self, start, end):
        end = min(end, self.size)
        while start < end:
            count = min(PIECE, end - start)
            self.write(start, memoryview(ZEROS)[:count])
            start += count

    def sync(self):
        try:
            os.fsync(self.fd)
        except OSError as error:
            raise Wrong(f"writing {self.path} failed: {error.strerror}") from error
        self.unsynced = 0

    def read(self, place, count):
        """Reads past the page cache, where place is a multiple of 4096; at most PIECE."""
        if self.direct is None:
            try:
                self.direct = os.open(self.path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
            except OSError:
                self.direct = False
        whole = -(-count // 4096) * 4096
        try:
            if self.direct is not False and place % 4096 == 0:
                got = os.preadv(self.direct, [memoryview(self.buffer)[:whole]], place)
                if got >= count:
                    return self.buffer[:count]
        except OSError as error:
            # A file system that cannot; anything else is the disk.
            if error.errno != 22:
                raise Wrong(f"reading {self.path} failed at byte {place}: {error.strerror}") from error
        os.posix_fadvise(self.fd, place, count, os.POSIX_FADV_DONTNEED)
        content = os.pread(self.fd, count, place)
        if len(content) != count:
            raise Wrong(f"{self.path} ends before byte {place + count}")
        return content

    def pieces(self, start, end):
        while start < end:
            content = self.read(start, min(PIECE, end - start))
            yield content
            start += len(content)


def partitions(path):
    """Start and end in bytes, and type, of each partition in sfdisk's JSON."""
    with open(path, encoding="utf-8") as file:
        table = json.load(file)["partitiontable"]
    sector = table.get("sectorsize", 512)
    return [
        (part["start"] * sector, (part["start"] + part["size"]) * sector, part["type"])
        for part in table.get("partitions", [])
    ]


def blanks(bmap, parts):
    """What has to read as zeros although the map leaves it out, since a disk that was used has other
    bytes there: all of the ESP, others up to their last mapped block (dm-verity counts those too),
    and where something could be found in a partition that is empty."""
    for start, end, kind in parts:
        inside = [r for r in bmap.ranges if r[0] < end and r[1] > start]
        if kind == ESP:
            until = end
        elif inside:
            until = min(end, inside[-1][1])
        else:
            until = min(end, start + MIB)
        place = start
        for first, last, _ in inside:
            if place < min(first, until):
                yield place, min(first, until)
            place = max(place, last)
        if place < until:
            yield place, until


def olds(bmap, target, old):
    """Where what the disk held before could be found again: headers of old partitions, the space
    for the new ones, and the old backup of the partition table. Nothing of the image."""
    for start, _, _ in old:
        yield max(start, bmap.size), start + OLD_HEADER
    yield bmap.size, bmap.size + BEHIND_IMAGE
    yield max(bmap.size, target.size - OLD_TAIL), target.size


def write(asked):
    bmap = Bmap(asked.bmap)
    target = Target(asked.target, True)
    if target.size < bmap.size:
        raise Wrong(f"{asked.target} has {target.size} bytes, the image {bmap.size}")
    blank = list(blanks(bmap, partitions(asked.table)))
    if asked.old_table:
        blank += olds(bmap, target, partitions(asked.old_table))
    else:
        blank += olds(bmap, target, [])

    # From here on nothing starts from this disk.
    target.write(0, NOTE.ljust(HEAD, b"\0"))
    target.sync()
    bar = Progress("blanking", sum(max(0, end - start) for start, end in blank))
    for start, end in blank:
        start = max(start, HEAD)
        for place in range(start, end, PIECE):
            target.zero(place, min(end, place + PIECE))
            bar.add(min(end, place + PIECE) - place)
    target.sync()
    bar.end()

    image = Image(asked.image)
    head = bytearray(HEAD)
    bar = Progress("writing", bmap.mapped)
    try:
        for start, end, checksum in bmap.ranges:
            digest, place = hashlib.sha256(), start
            for content in image.pieces(start, end):
                digest.update(content)
                inside = max(0, min(len(content), HEAD - place))
                head[place : place + inside] = content[:inside]
                target.write(place + inside, memoryview(content)[inside:])
                place += len(content)
                bar.add(len(content))
            if digest.hexdigest() != checksum:
                raise Wrong(f"{asked.image} is not what its block map says at byte {start}; fetch both again")
    finally:
        image.close()
    target.sync()
    bar.end()

    bar = Progress("verifying", bmap.mapped)
    for start, end, checksum in bmap.ranges:
        digest, place = hashlib.sha256(), start
        for content in target.pieces(start, end):
            inside = max(0, min(len(content), HEAD - place))
            digest.update(head[place : place + inside])
            digest.update(memoryview(content)[inside:])
            place += len(content)
            bar.add(len(content))
        if digest.hexdigest() != checksum:
            raise Wrong(
                f"{asked.target} does not read back what was written, from byte {start} to {end}. "
                "The disk is bad or smaller than it says: use another"
            )
    bar.end()


def finish(asked):
    """Writes the end and then the beginning from a sparse file as large as the target."""
    target = Target(asked.target, True)
    with open(asked.frame, "rb") as frame:
        head = frame.read(HEAD)
        start = max(HEAD, (target.size - 64 * 512) // 512 * 512)
        frame.seek(start)
        tail = frame.read()
    if start + len(tail) != target.size:
        raise Wrong(f"{asked.target} changed its size")
    # The backup of the table is 33 sectors; what lies before it may be a partition's.
    tail = tail[-33 * 512 :]
    start = target.size - len(tail)
    for place, content in ((start, tail), (0, head)):
        target.write(place, content)
        target.sync()
        before = place % 4096
        back = b"".join(target.pieces(place - before, place + len(content)))
        if back[before:] != content:
            raise Wrong(f"{asked.target} does not read back what was written at byte {place}")


def verify(asked):
    """Compares a disk that has not started yet with the image, but for its ESP and partition table:
    the first has the provisioning by now, the other reaches to the end of the disk."""
    bmap = Bmap(asked.bmap)
    target = Target(asked.target, False)
    if target.read(0, 4096).startswith(NOTE):
        raise Wrong(f"{asked.target} is half written: flashing was not finished. Flash it again")
    if target.size < bmap.size:
        raise Wrong(f"{asked.target} has {target.size} bytes, the image {bmap.size}")
    parts = partitions(asked.table)
    left_out = [(0, 34 * 512), (bmap.size - 33 * 512, bmap.size)]
    left_out += [(start, end) for start, end, kind in parts if kind == ESP]
    image, ranges = Image(asked.image), list(bmap.ranges)
    ranges += [(start, end, None) for start, end in blanks(bmap, parts)]
    bar = Progress("verifying", sum(end - start for start, end, _ in ranges))
    try:
        for start, end, _ in sorted(ranges):
            place = start
            for content in image.pieces(start, end):
                back = target.read(place, len(content))
                if back != content:
                    compare(asked.target, place, back, content, left_out)
                place += len(content)
                bar.add(len(content))
    finally:
        image.close()
    bar.end()


def compare(path, place, back, content, left_out):
    for start, end in left_out:
        first, last = max(0, start - place), min(len(content), end - place)
        if first < last:
            same = content[first:last]
            back = back[:first] + same + back[last:]
    if back != content:
        at = next(i for i, (a, b) in enumerate(zip(back, content)) if a != b)
        raise Wrong(f"{path} is not the image: it differs at byte {place + at}. Flash it again")


def head(asked):
    """The first bytes of the image, and its size as the map has it."""
    bmap, image = Bmap(asked.bmap), Image(asked.image)
    try:
        with open(asked.out, "wb") as out:
            for content in image.pieces(0, min(asked.bytes, bmap.size)):
                # An ESP is mostly empty, and this may lie in memory.
                for at in range(0, len(content), 4096):
                    block = content[at : at + 4096]
                    if block.count(0) == len(block):
                        out.seek(len(block), os.SEEK_CUR)
                    else:
                        out.write(block)
            out.truncate(bmap.size)
    finally:
        image.close()
    print(bmap.size, bmap.mapped)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    needs = {
        head: ["image", "bmap", "out"],
        write: ["image", "bmap", "table", "target"],
        finish: ["frame", "target"],
        verify: ["image", "bmap", "table", "target"],
    }
    for verb, options in needs.items():
        sub = verbs.add_parser(verb.__name__)
        sub.set_defaults(run=verb)
        for option in options:
            sub.add_argument(f"--{option}", required=True)
    verbs.choices["head"].add_argument("--bytes", type=int, default=HEAD)
    verbs.choices["write"].add_argument("--old-table")
    asked = parser.parse_args()
    try:
        asked.run(asked)
    except (Wrong, OSError) as error:
        if sys.stderr.isatty():
            sys.stderr.write("\n")
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
