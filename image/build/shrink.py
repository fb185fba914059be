"""Takes out of a root the plugins of GStreamer that the transcoder never loads, and what only they needed.

A library goes where a plugin that went needed it, and nothing that stays does. What programs open by
name while they run (systemd does so) shows in no header, so those are kept by name.
"""

import argparse
import pathlib
import re
import subprocess

# What systemd and others open only when they need it.
OPENED_BY_NAME = re.compile(
    r"lib(cryptsetup|tss2|kmod|mount|blkid|gcrypt|gpg-error|lz4|zstd|lzma|bz2|elf|dw|bpf|idn2|p11|qrencode|archive"
    r"|pcre2|acl|pam|ssl|crypto|curl|selinux|seccomp|apparmor|audit|cap|nss|va|drm|mfx|vpl|EGL|GL|gbm|cuda|z)"
)


def needed(path, known={}):
    """Names of the libraries in an ELF file's header; nothing for other files."""
    if path not in known:
        with path.open("rb") as file:
            is_elf = file.read(4) == b"\x7fELF"
        said = ""
        if is_elf:
            said = subprocess.run(["readelf", "-d", str(path)], capture_output=True, text=True, check=True).stdout
        known[path] = re.findall(r"\(NEEDED\).*\[(.*)\]", said)
    return known[path]


def closure(names, libraries):
    found, queue = set(), list(names)
    while queue:
        name = queue.pop()
        if name in found or name not in libraries:
            continue
        found.add(name)
        queue += needed(libraries[name].resolve())
    return found


def main():
    arguments = argparse.ArgumentParser()
    for name in ("root", "plugins"):
        arguments.add_argument(name, type=pathlib.Path)
    given = arguments.parse_args()
    folder = given.root / "usr/lib/x86_64-linux-gnu"
    # Every word in quotes there; the names of plugins are among them.
    kept = set(re.findall(r'"([a-z0-9]+)"', given.plugins.read_text()))
    plugins = sorted((folder / "gstreamer-1.0").glob("libgst*.so"))
    gone = [it for it in plugins if it.name[len("libgst"):-len(".so")] not in kept]
    stays = len(plugins) - len(gone)
    if stays < 30:
        raise SystemExit(f"only {stays} plugins would stay: is {given.plugins} still the list of them?")
    # What those that go would themselves have opened by name.
    for pattern in ("libonnxruntime_providers_*.so", "gtk-3.0/**/*.so", "gtk-4.0/**/*.so", "libdecor/**/*.so"):
        gone += folder.glob(pattern)
    libraries = {it.name: it for it in folder.glob("*.so*")}
    candidates = closure([name for it in gone for name in needed(it)], libraries)
    roots = []
    for place in ("usr/bin", "usr/sbin", "usr/lib", "usr/libexec"):
        for path in (given.root / place).rglob("*"):
            if path.is_symlink() or not path.is_file() or path in gone or "/usr/lib/firmware" in str(path):
                continue
            if path.parent == folder and path.name in {it for name in candidates for it in (name, libraries[name].resolve().name)}:
                continue
            roots += needed(path)
    stay = closure(roots, libraries)
    files = set(gone)
    for name in candidates - stay:
        if not OPENED_BY_NAME.match(name):
            files |= {libraries[name], libraries[name].resolve()}
    size = sum(it.stat().st_size for it in files if not it.is_symlink())
    for path in files:
        path.unlink()
    for path in folder.glob("*.so*"):
        if path.is_symlink() and not path.exists():
            path.unlink()
    print(f"{len(plugins) - stays} plugins and {len(files) - len(plugins) + stays} libraries taken out, {size // 1_000_000} MB")


if __name__ == "__main__":
    main()
