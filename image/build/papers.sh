# shellcheck shell=bash disable=SC2154
# What lies beside the disk: bill of materials, licences, provenance, sums and their signatures; sourced by
# scripts/image. Bash.

# CycloneDX 1.6, of Debian's packages and the crates in Cargo.lock.
make_sbom() {
    python3 "$repo/image/build/sbom.py" --version "$version" --time "$SOURCE_DATE_EPOCH" \
        --debian "$work/packages.tsv" --cargo "$repo" --programs "$programs" >"$work/out/$name.cdx.json"
}

# in-toto statement with SLSA provenance, version 1: what it was built from, with what.
make_provenance() {
    local commit dirty=''
    commit=$(git -C "$repo" rev-parse HEAD 2>/dev/null || echo unknown)
    [ -z "$(git -C "$repo" status --porcelain 2>/dev/null)" ] || dirty=-dirty
    (cd "$work/out" && sha256sum "$name.raw.zst" "$name.efi" *.root *.verity) >"$work/subjects"
    jq -n -S --rawfile subjects "$work/subjects" --rawfile packages "$work/packages.tsv" \
        --arg version "$version" --arg commit "$commit$dirty" --arg root_hash "$root_hash" \
        --arg unsigned "$(cat "$work/unsigned.sha256")" --arg epoch "$SOURCE_DATE_EPOCH" \
        --arg rust "$(rustc --version 2>/dev/null || echo 'none: programs were handed in')" \
        --arg lock "$(sha256sum <"$repo/Cargo.lock" | cut -d ' ' -f 1)" \
        --arg programs "$(cd "$programs" && sha256sum holdfast holdfast-volume holdfast-transcode)" '{
        _type: "https://in-toto.io/Statement/v1",
        predicateType: "https://slsa.dev/provenance/v1",
        subject: [$subjects | split("\n")[] | select(. != "") | split("  ") | {name: .[1], digest: {sha256: .[0]}}],
        predicate: {
            buildDefinition: {
                buildType: "https://holdfast.invalid/scripts/image/v1",
                externalParameters: {version: $version},
                internalParameters: {source_date_epoch: ($epoch | tonumber), rust: $rust, root_hash: $root_hash,
                    unsigned_kernel_image_sha256: $unsigned},
                resolvedDependencies: ([{name: "source", digest: {gitCommit: $commit}},
                    {name: "Cargo.lock", digest: {sha256: $lock}}]
                    + [$programs | split("\n")[] | select(. != "") | split("  ") | {name: .[1], digest: {sha256: .[0]}}]
                    + [$packages | split("\n")[] | select(. != "") | split("\t")
                        | {uri: "pkg:deb/debian/\(.[0])@\(.[1])?arch=\(.[2])&distro=trixie"}])
            },
            runDetails: {builder: {id: "https://holdfast.invalid/scripts/image"}}
        }
    }' >"$work/out/$name.provenance.json"
}

# The two signatures are by two keys, for the two programs that check: `flash` has openssl, systemd-sysupdate OpenPGP.
sign_sums() {
    local out=$work/out
    (cd "$out" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >"$work/SHA256SUMS")
    mv "$work/SHA256SUMS" "$out/"
    openssl dgst -sha256 -sign "$keys/update.key" -out "$out/SHA256SUMS.sig" "$out/SHA256SUMS"
    cp -r "$keys/gnupg" "$work/gnupg"
    chmod 700 "$work/gnupg"
    gpg --homedir "$work/gnupg" --batch --quiet --pinentry-mode loopback --passphrase '' --digest-algo SHA256 \
        --detach-sign --output "$out/SHA256SUMS.gpg" "$out/SHA256SUMS" 2>"$work/said" ||
        die "SHA256SUMS could not be signed: $(tail -n 1 "$work/said")"
    gpgconf --homedir "$work/gnupg" --kill all
    install -m 644 "$keys/update.pub.pem" "$out/update.pub.pem"
    chmod a+r "$out"/*
}

make_papers() {
    make_sbom
    zstd -q -19 "$work/licences.tar" -o "$work/out/$name.licences.tar.zst"
    make_provenance
    sign_sums
}
