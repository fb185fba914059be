# shellcheck shell=bash disable=SC2034,SC2154
# The recovery key: node/volume/src/keys/recovery.rs says what it is; sourced by rescue. Bash.
#
# It lies in $scratch, which is memory, for cryptsetup to read; never in arguments or the environment.

modhex=cbdefghijklnrtuv

# read_recovery_key [optional]: checks it and puts the passphrase of its slots into $scratch/recovery.
read_recovery_key() {
    local typed=''
    if [ -n "$recovery_file" ]; then
        [ -r "$recovery_file" ] || die "$recovery_file cannot be read"
        typed=$(head -c 4096 "$recovery_file" | tr -d '\0')
    elif [ -t 0 ]; then
        printf 'Recovery key%s: ' "${1:+ (Enter: without it)}" >&2
        IFS= read -rs typed || true
        printf '\n' >&2
    fi
    if [ -z "$typed" ]; then
        [ -z "${1:-}" ] || return 1
        die 'the recovery key is needed, and there is no terminal to ask on: name a file with it, --recovery-file'
    fi
    typed=$(tr 'A-Z' 'a-z' <<<"$typed" | tr -d ' \t\r\n-')
    check_letters "$typed"
    sed 's/.\{8\}/&-/g; s/-$//' <<<"${typed:0:64}" | tr -d '\n' >"$scratch/recovery"
}

check_letters() {
    local group check
    [[ $1 =~ ^[$modhex]*$ ]] || {
        group=${1%%[!$modhex]*}
        die "the recovery key: group $((${#group} / 8 + 1)) has a character that is none of $modhex"
    }
    case ${#1} in
        64) return ;;
        72) ;;
        *) die "a recovery key has 8 groups of 8 letters and a ninth to check them; this has ${#1} letters" ;;
    esac
    for group in 0 1 2 3 4 5 6 7; do
        check=$(check_of "${1:group * 8:8}")
        [ "$check" = "${1:64 + group:1}" ] ||
            die "the recovery key: group $((group + 1)) is mistyped, or the letter $((group + 1)) of the ninth group is"
    done
}

# The letter that checks a group: its letters, each times another power of x, in GF(16).
check_of() {
    local sum=0 place before
    for place in 7 6 5 4 3 2 1 0; do
        before=${modhex%%"${1:place:1}"*}
        sum=$(((sum ^ ${#before}) << 1))
        ((sum < 16)) || sum=$((sum & 15 ^ 3))
    done
    printf '%s' "${modhex:sum:1}"
}

# make_key: a new one in the same form, into $scratch/new; shown once.
make_key() {
    local letters group checks=''
    letters=$(od -An -v -tx1 -N 32 /dev/urandom | tr -d ' \n' | tr 0123456789abcdef "$modhex")
    [ ${#letters} = 64 ] || die '/dev/urandom gave too little'
    for group in 0 1 2 3 4 5 6 7; do checks+=$(check_of "${letters:group * 8:8}"); done
    sed 's/.\{8\}/&-/g; s/-$//' <<<"$letters" | tr -d '\n' >"$scratch/new"
    is_random=1
    note 'The key of the target, shown this once. Write it down; its first eight groups, with the dashes, are the passphrase:'
    note ''
    note "    $(cat "$scratch/new")-$checks"
    note ''
}

# own_passphrase KIND: asked for on the terminal, twice where it is a new one; into $scratch/new. Sets is_random
# where it is one that was made.
own_passphrase() {
    local typed again
    is_random=''
    if [ -n "$passphrase_file" ]; then
        [ -r "$passphrase_file" ] || die "$passphrase_file cannot be read"
        typed=$(head -c 4096 "$passphrase_file" | tr -d '\0')
    else
        [ -t 0 ] || die "the target's passphrase is needed, and there is no terminal to ask on: --passphrase-file"
        printf "The target's passphrase: " >&2
        IFS= read -rs typed || true
        printf '\n' >&2
        if [ "$1" = new ]; then
            printf 'The same again: ' >&2
            IFS= read -rs again || true
            printf '\n' >&2
            [ "$typed" = "$again" ] || die 'they differ. Nothing was changed'
        fi
    fi
    # One that `rescue` made may be typed with its ninth group, in capitals, or without dashes.
    local letters
    letters=$(tr 'A-Z' 'a-z' <<<"$typed" | tr -d ' \t\r\n-')
    if [[ $letters =~ ^[$modhex]{64}([$modhex]{8})?$ ]]; then
        check_letters "$letters"
        typed=$(sed 's/.\{8\}/&-/g; s/-$//' <<<"${letters:0:64}")
        is_random=1
    fi
    [ ${#typed} -ge 12 ] || die "the target's passphrase is too short: 12 characters at least. Nothing was changed"
    printf '%s' "$typed" >"$scratch/new"
}

# opened_slot HEADER KEYFILE: the number of the key slot that it opens; fails where there is none.
opened_slot() {
    local said
    said=$(cryptsetup open --test-passphrase --verbose --key-file "$2" "$1" 2>&1) || return 1
    sed -n 's/^Key slot \([0-9]*\) unlocked.*/\1/p' <<<"$said" | head -n 1
}
