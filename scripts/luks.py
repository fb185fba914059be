#!/usr/bin/python3
"""Says what a LUKS2 header is, and never writes: libcryptsetup mends a damaged copy while it reads.

Called by `rescue`, with a copy of the beginning of a partition or a header backup. Prints JSON. What is
taken for one of Holdfast's is what node/volume/src/luks/judge.rs takes for one.
"""

import hashlib
import json
import re
import struct
import sys

# Where the second copy may begin, in bytes: its place follows from the size of the first.
PLACES = [1 << power for power in range(14, 23)]
MAGICS = (b"LUKS\xba\xbe", b"SKUL\xba\xbe")
BINARY_BYTES = 4096
CHECKSUM = slice(448, 512)
SLOT_CIPHER = "aes-xts-plain64"
# Of the data, with the bytes of its key: AES, or Adiantum where a processor has no AES.
CIPHERS = {SLOT_CIPHER: 64, "xchacha12,aes-adiantum-plain64": 32}
INTEGRITY = "hmac(sha256)"
SECTOR_BYTES = 4096
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What the JSON says of key areas is at most so much; cryptsetup has the same limit.
HEADER_BYTES_MAX = (8 << 20) + (128 << 20)


def text(raw):
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def copy_at(file, place):
    """One of the two copies: None where nothing begins, {} where it is damaged."""
    file.seek(place)
    head = file.read(BINARY_BYTES)
    if len(head) < BINARY_BYTES or head[:6] not in MAGICS:
        return None
    version, size, sequence = struct.unpack(">HQQ", head[6:24])
    if version != 2 or not BINARY_BYTES < size <= PLACES[-1]:
        return {"version": version} if version == 1 else {}
    area = file.read(size - BINARY_BYTES)
    blank = head[: CHECKSUM.start] + bytes(64) + head[CHECKSUM.stop :]
    try:
        digest = hashlib.new(text(head[72:104]), blank + area).digest()
        said = json.loads(area.split(b"\0", 1)[0])
    except ValueError:
        return {}
    offset = struct.unpack(">Q", head[256:264])[0]
    if head[CHECKSUM][: len(digest)] != digest or offset != place or not isinstance(said, dict):
        return {}
    if not UUID.fullmatch(text(head[168:208])):
        return {}
    return {
        "version": 2,
        "size": size,
        "sequence": sequence,
        "label": text(head[24:72]),
        "uuid": text(head[168:208]),
        "json": said,
    }


def both_copies(file):
    first = copy_at(file, 0)
    places = [first["size"]] if first and "size" in first else PLACES
    second = None
    for place in places:
        found = copy_at(file, place)
        if found is not None and (second is None or found):
            second = found
    return first, second


def purpose(number, tokens):
    """What a slot is for, as node/volume/src/luks/slots.rs reads it."""
    kinds = {"systemd-recovery": "recovery", "systemd-tpm2": "machine", "holdfast-tpm2": "machine", "clevis": "site"}
    for token in tokens:
        if number in token.get("keyslots", []):
            return token.get("purpose") or kinds.get(token.get("type"), "unknown")
    return "unknown"


def other(said, is_between):
    """What is not as Holdfast writes it, in words; None where all is."""
    mandatory = said.get("config", {}).get("requirements", {}).get("mandatory", [])
    segments = list(said.get("segments", {}).values())
    if mandatory and not is_between:
        return f"wants more than is known here: {', '.join(mandatory)}"
    if len(segments) != 1 and not (is_between and len(segments) > 1):
        return f"has {len(segments)} segments, not one"
    cipher = segments[0].get("encryption") if segments else None
    key_bytes = CIPHERS.get(cipher)
    for segment in segments:
        if segment.get("type") != "crypt":
            return "has a segment in the clear"
        if segment.get("encryption") != cipher or key_bytes is None:
            return f"has the cipher {segment.get('encryption')}, none of {', '.join(CIPHERS)}"
        if segment.get("sector_size") != SECTOR_BYTES:
            return f"has sectors of {segment.get('sector_size')} bytes, not {SECTOR_BYTES}"
        integrity = segment.get("integrity", {}).get("type")
        if integrity not in (None, INTEGRITY):
            return f"has the integrity {integrity}"
        key_bytes = CIPHERS[cipher] + (32 if integrity else 0)
    for number, slot in said.get("keyslots", {}).items():
        if slot.get("type") != "luks2":
            continue
        if slot.get("area", {}).get("encryption") not in (SLOT_CIPHER, cipher):
            return f"has key slot {number} with another cipher"
        if slot.get("key_size") != key_bytes:
            return "has a key of another length"
    return None


def facts(path):
    with open(path, "rb") as file:
        first, second = both_copies(file)
        length = file.seek(0, 2)
    if first and first.get("version") == 1:
        return {"kind": "luks1", "copies": []}
    if first is None and second is None:
        return {"kind": "none", "copies": []}
    whole = [it for it in (first, second) if it]
    said = {"kind": "luks2", "copies": ["whole" if it else "damaged" for it in (first, second)]}
    if not whole:
        return said
    best = max(whole, key=lambda it: it["sequence"])
    metadata = best["json"]
    mandatory = metadata.get("config", {}).get("requirements", {}).get("mandatory", [])
    is_between = any(it.startswith("online-reencrypt") for it in mandatory)
    tokens = list(metadata.get("tokens", {}).values())
    slots = [number for number, slot in metadata.get("keyslots", {}).items() if slot.get("type") == "luks2"]
    config = metadata.get("config", {})
    header = 2 * (BINARY_BYTES + int(config.get("json_size", 0))) + int(config.get("keyslots_size", 0))
    said.update(
        uuid=best["uuid"],
        label=best["label"],
        header_bytes=min(header, HEADER_BYTES_MAX),
        is_cut_off=length < header,
        is_reencrypting=is_between,
        not_ours=other(metadata, is_between),
        slots=[{"number": int(it), "purpose": purpose(it, tokens)} for it in sorted(slots, key=int)],
    )
    return said


if __name__ == "__main__":
    try:
        print(json.dumps(facts(sys.argv[1])))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        sys.exit(f"error: {sys.argv[1:]}: its header makes no sense: {error}")
