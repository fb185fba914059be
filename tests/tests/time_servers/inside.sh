# What time_servers.rs looks at: the appliance's own chrony.conf and script, a time server with NTS, in namespaces of their own
# without a network. Usage: inside.sh FOLDER REPOSITORY CHRONY. The folder has ca.pem, server.pem and server.key.
set -eu
here=$1 repo=$2 chrony=$3
PATH=$chrony/usr/bin:$PATH
# Libraries that this machine does not have were unpacked beside it.
LD_LIBRARY_PATH=$chrony/usr/lib/$(uname -m)-linux-gnu
export PATH LD_LIBRARY_PATH
ip link set lo up
mount -t tmpfs tmpfs /run
mkdir -p -m 755 /run/chrony-dhcp /run/systemd/netif/leases
mkdir -m 700 /run/chrony "$here/state"

cat >"$here/server.conf" <<END
port 11123
ntsport 14460
ntsserverkey $here/server.key
ntsservercert $here/server.pem
allow 127.0.0.0/8
local stratum 3
cmdport 0
bindcmdaddress /
pidfile $here/server.pid
END
"$chrony/usr/sbin/chronyd" -x -d -u root -f "$here/server.conf" >"$here/server.log" 2>&1 &
server=$!
{
    sed "s#/var/lib/chrony#$here/state#" "$repo/image/root/etc/chrony/chrony.conf"
    echo "ntstrustedcerts $here/ca.pem"
} >"$here/client.conf"
"$chrony/usr/sbin/chronyd" -x -d -u root -f "$here/client.conf" >"$here/client.log" 2>&1 &
client=$!
trap 'kill $server $client 2>/dev/null || true' EXIT

# until_it COMMAND...: half a minute at most.
until_it() {
    local tries=0
    until "$@"; do
        sleep 0.5
        tries=$((tries + 1))
        [ $tries -lt 60 ] || { { chronyc -n sources; chronyc -n authdata; cat "$here"/*.log; } >&2; exit 1; }
    done
}
is_up() { [ -S /run/chrony/chronyd.sock ]; }
# Its keys are there, with cookies for the next questions, and an answer has come.
is_authenticated() { chronyc -n authdata | grep -q '^127\.0\.0\.1 *NTS *[1-9][0-9]* .* 8 *100$' && chronyc -n sources | grep -q '^^[?*] 127\.0\.0\.1 *3 '; }
tell() { sh "$repo/image/root/usr/lib/holdfast/time"; }

until_it is_up
HOLDFAST_TIME_SERVERS='nts:localhost:14460' tell
until_it is_authenticated
echo "authenticated: $(cat /run/chrony-dhcp/holdfast.sources)"

printf 'ADDRESS=10.0.0.5\nNTP=127.0.0.7 127.0.0.8 $(reboot)\n' >/run/systemd/netif/leases/2
HOLDFAST_TIME_SERVERS='fd00::1 nts:fd00::2 a;b' tell
echo "then: $(tr '\n' ',' </run/chrony-dhcp/holdfast.sources)"
for address in 127.0.0.7 127.0.0.8 fd00::1 fd00::2; do chronyc -n sources | grep -qF " $address " && echo "asks $address"; done
