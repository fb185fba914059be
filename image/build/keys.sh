# shellcheck shell=bash disable=SC2154
# The keys that an image is signed with; sourced by scripts/image. Bash.
#
#   PK, KEK, db     Secure Boot: the box's owner, who may change db, and what starts. X.509, RSA 2048,
#                   because that is what every firmware takes
#   pcr             signs the values of PCR 11 that the TPM gives the keys of the volumes out at
#   update          signs SHA256SUMS: as openssl does for `flash`, and as OpenPGP for systemd-sysupdate

# make_keys DIR
make_keys() {
    local dir=$1 name
    [ ! -e "$dir" ] || die "$dir exists already: keys are never written over"
    (
        umask 077
        mkdir -p "$dir.new"
        cd "$dir.new"
        for name in PK KEK db; do
            openssl req -new -x509 -newkey rsa:2048 -nodes -sha256 -days 9131 -subj "/CN=Holdfast $name/" \
                -keyout "$name.key" -out "$name.crt" 2>said ||
                die "a key could not be made: $(tail -n 1 said)"
        done
        for name in pcr update; do
            openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$name.key" 2>said ||
                die "a key could not be made: $(tail -n 1 said)"
            openssl pkey -in "$name.key" -pubout -out "$name.pub.pem"
        done
        mkdir gnupg
        gpg --homedir gnupg --batch --quiet --pinentry-mode loopback --passphrase '' \
            --quick-generate-key 'Holdfast updates <updates@holdfast.invalid>' rsa3072 sign never 2>said ||
            die "the key of updates could not be made: $(tail -n 1 said)"
        gpg --homedir gnupg --batch --quiet --export >update.pgp
        gpgconf --homedir "$PWD/gnupg" --kill all
        cat /proc/sys/kernel/random/uuid >owner
        rm -f said
    )
    mv "$dir.new" "$dir"
}

# check_keys DIR: ends where it is no set of keys.
check_keys() {
    local file
    for file in {PK,KEK,db}.{key,crt} {pcr,update}.{key,pub.pem} update.pgp gnupg owner; do
        [ -e "$1/$file" ] || die "$1 is no set of keys, it has no $file. Make one: scripts/image keys DIR"
    done
}
