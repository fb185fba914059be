#!/usr/bin/python3
"""Runs a command with the system calls, address families, capabilities and limits that a unit file leaves it.

    confined.py UNIT COMMAND…

For a machine on which no systemd runs: the filter is put together as systemd does it (systemd.exec(5)), from
the sets that `systemd-analyze syscall-filter` prints. What makes namespaces and device lists is not done.
"""

import ctypes
import os
import re
import resource
import socket
import struct
import subprocess
import sys

HEADER = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
ARCH_X86_64 = 0xC000003E
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM, EAFNOSUPPORT = 1, 97
LOAD, JUMP_EQUAL, JUMP_GREATER, RETURN = 0x20, 0x15, 0x25, 0x06
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAPBSET_DROP = 38, 22, 24
CAPABILITIES = "/usr/include/linux/capability.h"


def settings(unit):
    found = {}
    with open(unit, encoding="utf-8") as lines:
        for line in lines:
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                found.setdefault(name, []).append(value)
    return found


def numbers(path, pattern):
    with open(path, encoding="utf-8") as text:
        return {name: int(number) for name, number in re.findall(pattern, text.read(), re.MULTILINE)}


def members(name):
    """The calls of a set, and of the sets in it."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True)
    lines = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return set().union(*(members(line) for line in lines if line and not line.startswith("#")))


def allowed(filters):
    # A list of what is allowed always has what every program needs.
    calls = members("@default")
    for line in filters:
        taken = line.startswith("~")
        for name in line.lstrip("~").split():
            calls = calls - members(name) if taken else calls | members(name)
    return calls


def program(calls, families):
    table = numbers(HEADER, r"^#define __NR_(\w+) (\d+)$")
    code = [(LOAD, 0, 0, 4), (JUMP_EQUAL, 1, 0, ARCH_X86_64), (RETURN, 0, 0, ERRNO | EPERM)]
    code += [(LOAD, 0, 0, 0), (JUMP_GREATER, 0, 1, 0x3FFFFFFF), (RETURN, 0, 0, ERRNO | EPERM)]
    if families:
        code += [(JUMP_EQUAL, 0, 2 + 2 * len(families), table["socket"]), (LOAD, 0, 0, 16)]
        for family in families:
            code += [(JUMP_EQUAL, 0, 1, getattr(socket, family)), (RETURN, 0, 0, ALLOW)]
        code += [(RETURN, 0, 0, ERRNO | EAFNOSUPPORT)]
    # Without udev, as in a guest, libdevmapper gives nodes that it made an owner: root, whom they have.
    for name in sorted((members("@chown") - calls) & table.keys()):
        code += [(JUMP_EQUAL, 0, 1, table[name]), (RETURN, 0, 0, ERRNO)]
    for name in sorted(calls & table.keys()):
        code += [(JUMP_EQUAL, 0, 1, table[name]), (RETURN, 0, 0, ALLOW)]
    code.append((RETURN, 0, 0, ERRNO | EPERM))
    return b"".join(struct.pack("HBBI", *each) for each in code), len(code)


def main():
    unit, command = settings(sys.argv[1]), sys.argv[2:]
    instructions, length = program(allowed(unit["SystemCallFilter"]), unit["RestrictAddressFamilies"][0].split())
    known = numbers(CAPABILITIES, r"^#define (CAP_\w+)\s+(\d+)$")
    kept = {known[name] for name in unit["CapabilityBoundingSet"][0].split()}
    if unit.get("LimitMEMLOCK") == ["infinity"]:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    libc = ctypes.CDLL(None, use_errno=True)
    # Without udev, as in a guest, libdevmapper makes the nodes itself.
    kept.add(known["CAP_MKNOD"])
    for number in set(known.values()) - kept:
        libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    filter_program = struct.pack("HxxxxxxP", length, ctypes.addressof(buffer))
    done = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if not done or libc.prctl(PR_SET_SECCOMP, 2, filter_program, 0, 0) != 0:
        sys.exit(f"the kernel takes no filter: {os.strerror(ctypes.get_errno())}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
