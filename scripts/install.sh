#!/bin/sh
# Installs MikroScope from a release: curl -fsSL ADDRESS/install.sh | sh
# Without root, without a package index. `sh install.sh --help` tells the rest.
set -eu

BASE_URL=""
MARK="# made by the MikroScope installer"

usage() {
    cat <<'END'
usage: install.sh [--uninstall [--purge]] [--skip-checksum] [--help]

Fetches a release archive with curl or wget, verifies it against SHA256SUMS.txt, unpacks it, asks
for the configuration, and makes the command `mikroscope`. Run it again to upgrade: the version in
use stays until the new one has answered. It needs CPython 3.11 or newer.

  --uninstall      remove the program and the command; config, logs and index stay
  --purge          with --uninstall: remove those as well, where they lie in the install directory
  --skip-checksum  install although the sum is missing or wrong

Environment:
  MIKROSCOPE_INSTALL_BASE_URL        address, or directory, of the files of a release
  MIKROSCOPE_INSTALL_VERSION         version, if there is more than one at that address
  MIKROSCOPE_INSTALL_DIR             where to install   [~/.local/share/mikroscope]
  MIKROSCOPE_BIN_DIR                 where to put the command   [~/.local/bin]
  MIKROSCOPE_INSTALL_NONINTERACTIVE  1: ask nothing
  MIKROSCOPE_INSTALL_SKIP_CHECKSUM   1: as --skip-checksum
  MIKROSCOPE_PYTHON                  the Python to use

What it asks for, and any other option, can be given by the variable of that option; the config
file gets it, unless there is one already: MIKROSCOPE_HOST, MIKROSCOPE_PORT, MIKROSCOPE_LOGS_PATH,
MIKROSCOPE_DB_PATH, MIKROSCOPE_API_TOKEN, MIKROSCOPE_AUTH_USERNAME, MIKROSCOPE_AUTH_PASSWORD,
MIKROSCOPE_INGEST_PRODUCERS and so on.
END
}

say() { printf '%s\n' "$*"; }

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

# --- what must not stay ---------------------------------------------------------------------

work="" # everything unfinished lies here
unproven="" # a version that has not answered yet
child=""
hidden=0 # whether the terminal does not show what is typed

clean_up() {
    [ -z "$child" ] || kill "$child" 2>/dev/null || :
    [ -z "$work" ] || rm -rf "$work"
    [ -z "$unproven" ] || rm -rf "$unproven"
    [ "$hidden" = 0 ] || stty echo </dev/tty
}

interrupted() {
    trap - EXIT
    clean_up
    printf '\ninstall.sh: interrupted: run it again to finish\n' >&3
    exit 130
}

reason() { # why the last command failed
    found=$(tail -n 1 "$work/log" 2>/dev/null || :)
    # A disk that is full has no room for the reason, either.
    free=$(df -Pk "$install_dir" | { read -r _; read -r _ _ _ free _; printf '%s' "$free"; })
    printf '%s' "${found:-No space left on device ($free kB are free)}"
}

run() { # a shell that waits can be interrupted, one that runs a command only after it
    "$@" &
    child=$!
    code=0
    wait "$child" || code=$?
    child=""
    return "$code"
}

# --- what is needed -------------------------------------------------------------------------

absolute() {
    case $1 in
        /*) printf '%s' "$1" ;;
        *) printf '%s/%s' "$PWD" "$1" ;;
    esac
}

quoted() { # for a shell script
    printf "'"
    printf '%s' "$1" | sed "s/'/'\\\\''/g"
    printf "'"
}

make_directory() { # DIRECTORY VARIABLE
    problem=$(mkdir -p "$1" 2>&1) || fail "$1 cannot be made: ${problem##*: } (choose another by $2)"
    [ -w "$1" ] || fail "$1 cannot be written: permission denied (choose another by $2)"
}

python_tag() { # how release archives name this machine with this Python
    "$1" -I -c '
import platform, sys
system = {"linux": "linux", "darwin": "macos"}.get(sys.platform)
if sys.version_info < (3, 11) or sys.implementation.name != "cpython" or not system:
    sys.exit(1)
if "t" in sys.abiflags:
    sys.exit(1)
if system == "linux" and platform.libc_ver()[0] != "glibc":
    system = "linux-musl"
print(f"{system}-{platform.machine()}-cp{sys.version_info[0]}{sys.version_info[1]}")
' 2>/dev/null
}

find_python() { # sets python, tag and, from the sums, archive and expected
    seen=""
    set -- python3 python3.14 python3.13 python3.12 python3.11 python
    [ -z "${MIKROSCOPE_PYTHON:-}" ] || set -- "$MIKROSCOPE_PYTHON"
    for python; do
        tag=$(python_tag "$python") || continue
        case " $seen " in *" $tag "*) continue ;; esac
        seen="$seen $tag"
        find_archive && return
    done
    [ -n "$seen" ] || fail "CPython 3.11 or newer is needed, and none was found: install it, or name it by MIKROSCOPE_PYTHON"
    fail "the release has no archive for$seen; it has: $(archives)"
}

archives() {
    sed -n 's/^[0-9a-f]* [ *]\(mikroscope-.*-cp3[0-9]*\)\.tar\.gz$/\1/p' "$work/SHA256SUMS.txt" | tr '\n' ' '
}

find_archive() {
    archive=""
    expected=""
    while read -r sum name; do
        name=${name#\*}
        # shellcheck disable=SC2254 # without a version any will do: a pattern is meant
        case $name in
            mikroscope-${version:-*}-"$tag".tar.gz) ;;
            *) continue ;;
        esac
        [ -z "$archive" ] || fail "there is more than one version at $base: name one by MIKROSCOPE_INSTALL_VERSION"
        archive=$name
        expected=$sum
    done <"$work/SHA256SUMS.txt"
    if [ -z "$archive" ] && [ "$skip_checksum" = 1 ] && [ -n "$version" ]; then
        archive=mikroscope-$version-$tag.tar.gz
    fi
    [ -n "$archive" ]
}

fetch() { # NAME: from the release into $work; sets problem if that fails
    case $base in
        http://* | https://*) ;;
        *)
            problem=$(cp "${base#file://}/$1" "$work/$1" 2>&1) || {
                problem=${problem##*: }
                return 1
            }
            return
            ;;
    esac
    if command -v curl >/dev/null; then
        run curl -fsSL --retry 2 --connect-timeout 20 -o "$work/$1" "$base/$1" 2>"$work/log" && return
    elif command -v wget >/dev/null; then
        run wget -nv -T 60 -t 2 -O "$work/$1" "$base/$1" 2>"$work/log" && return
    else
        fail "curl or wget is needed: install one of them"
    fi
    problem=$(reason)
    return 1
}

fetch_sums() {
    fetch SHA256SUMS.txt && return
    rm -f "$work/SHA256SUMS.txt"
    [ "$skip_checksum" = 1 ] || fail "$base/SHA256SUMS.txt cannot be fetched: $problem (nothing is installed without it, but by --skip-checksum)"
    [ -n "$version" ] || fail "without SHA256SUMS.txt the version must be named: MIKROSCOPE_INSTALL_VERSION"
    : >"$work/SHA256SUMS.txt"
}

verify() { # sets sum
    sum=$("$python" -I -c '
import hashlib, sys
with open(sys.argv[1], "rb") as file:
    print(hashlib.file_digest(file, "sha256").hexdigest())' "$work/$archive")
    [ "$sum" != "$expected" ] || return 0
    if [ "$skip_checksum" != 1 ]; then
        fail "$archive does not have the sum that SHA256SUMS.txt tells: expected $expected, got $sum; it is not installed"
    fi
    say "warning: $archive is not verified: expected ${expected:-no known sum}, got $sum" >&2
}

unpack() {
    say "unpacking $archive"
    run "$python" -I -c '
import sys, tarfile
options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
try:
    with tarfile.open(sys.argv[1]) as archive:
        archive.extractall(sys.argv[2], **options)
except (OSError, EOFError, tarfile.TarError) as error:
    sys.exit(getattr(error, "strerror", None) or str(error))' "$work/$archive" "$work/unpacked" 2>"$work/log" ||
        fail "$archive cannot be unpacked in $install_dir: $(reason)"
    unpacked=$work/unpacked/${archive%.tar.gz}
    [ -x "$unpacked/mikroscope" ] || fail "$archive is no MikroScope release: it holds no ${archive%.tar.gz}/mikroscope"
}

# --- the version ----------------------------------------------------------------------------

put_in_place() { # a directory for each archive, by its sum: nothing that is in use is touched
    target=$install_dir/versions/$release-$(printf '%.12s' "$sum")
    mkdir -p "$install_dir/versions"
    current=$(readlink "$install_dir/current" || :)
    if [ ! -d "$target" ]; then
        unproven=$target
        mv "$unpacked" "$target"
    fi
    "$python" -I -c 'import os, sys; print(os.path.realpath(sys.executable))' >"$target/python.path" ||
        fail "$target cannot be written: is there room?"
    # Without this each start would compile anew where the user may not write.
    run "$python" -I -m compileall -q -j 0 "$target/lib" >/dev/null 2>&1 || :
}

step() { # STEP ARGUMENTS: what the version itself knows
    PYTHONPATH=$target/lib PYTHONSAFEPATH=1 run "$python" "$target/install_steps.py" "$@" 2>"$work/log"
}

try_out() {
    say "trying version $release on a free port"
    TMPDIR=$work step try-out --config "$config" && return
    fail "version $release does not work here: $(reason)${current:+; $(basename "$current") stays}"
}

switch() {
    [ "$current" != "versions/${target##*/}" ] || { unproven=""; return 0; }
    ln -s "versions/${target##*/}" "$work/current"
    "$python" -I -c 'import os, sys; os.replace(*sys.argv[1:])' "$work/current" "$install_dir/current"
    unproven=""
    for old in "$install_dir"/versions/*; do # the one before stays: it may still be running
        case versions/${old##*/} in
            "$current" | "versions/${target##*/}") ;;
            *) rm -rf "$old" ;;
        esac
    done
}

# --- the configuration ----------------------------------------------------------------------

ask() { # VARIABLE QUESTION DEFAULT [secret]
    eval "given=\${$1:-}"
    default=${given:-$3}
    shown=$default
    [ -z "${4:-}" ] || [ -z "$default" ] || shown="as in the environment"
    [ -z "${4:-}" ] || { hidden=1; stty -echo </dev/tty; }
    printf '%s [%s]: ' "$2" "${shown:-none}" >/dev/tty
    IFS= read -r answer </dev/tty || answer=""
    [ -z "${4:-}" ] || { stty echo </dev/tty; hidden=0; echo >/dev/tty; }
    export "$1=${answer:-$default}"
}

ask_all() {
    ask MIKROSCOPE_HOST "Address to listen on" 127.0.0.1
    ask MIKROSCOPE_PORT "Port" 4310
    ask MIKROSCOPE_LOGS_PATH "Directory of the logs" "$install_dir/logs"
    ask MIKROSCOPE_DB_PATH "File of the index" "$install_dir/data/mikroscope.db"
    ask MIKROSCOPE_API_TOKEN "Token that opens the API; without one anybody who reaches the port may ask" "" secret
    ask MIKROSCOPE_INGEST_PRODUCERS "Who may send logs, as token=producer pairs" "" secret
    ask MIKROSCOPE_AUTH_USERNAME "User of Basic auth" ""
    if [ -n "$MIKROSCOPE_AUTH_USERNAME" ]; then
        ask MIKROSCOPE_AUTH_PASSWORD "Password of that user" "" secret
    fi
}

configure() {
    if [ -e "$config" ]; then
        say "keeping $config"
        return
    fi
    interactive=0
    if [ "${MIKROSCOPE_INSTALL_NONINTERACTIVE:-}" != 1 ] && (: </dev/tty) 2>/dev/null; then
        interactive=1
    fi
    while :; do
        [ "$interactive" = 0 ] || ask_all
        step write-config --config "$config" --home "$install_dir" --directory "$PWD" && return
        [ "$interactive" = 1 ] || fail "the config file is not written: $(reason)"
        printf '%s\n' "$(reason)" >/dev/tty
    done
}

# --- the command ----------------------------------------------------------------------------

is_ours() { [ ! -e "$1" ] || grep -qF "$MARK" "$1" 2>/dev/null; }

make_wrapper() {
    wrapper=$bin_dir/mikroscope
    new=$wrapper.$$
    cat >"$new" <<END || fail "$wrapper cannot be written: is there room?"
#!/bin/sh
$MARK: sh $(quoted "$install_dir/current/install.sh") --uninstall
if [ -z "\${MIKROSCOPE_CONFIG_PATH:-}" ] && [ ! -e mikroscope.config.json ] && [ -e $(quoted "$config") ]; then
    export MIKROSCOPE_CONFIG_PATH=$(quoted "$config")
fi
exec $(quoted "$install_dir/current/mikroscope") "\$@"
END
    chmod 755 "$new"
    mv -f "$new" "$wrapper"
    printf '%s\n' "$bin_dir" >"$install_dir/bin.path"
}

report() {
    say "MikroScope $release is installed in $install_dir"
    say "  config: $config"
    say "  start:  mikroscope serve"
    [ "${current:-versions/${target##*/}}" = "versions/${target##*/}" ] || say "  a server that is running goes on with the version it has until it is restarted"
    case ":$PATH:" in
        *":$bin_dir:"*) ;;
        *)
            say "$bin_dir is not in your PATH; add it by:"
            say "  export PATH=$(quoted "$bin_dir"):\"\$PATH\""
            ;;
    esac
}

# --- what can be asked for ------------------------------------------------------------------

install() {
    base=${MIKROSCOPE_INSTALL_BASE_URL:-$BASE_URL}
    base=${base%/}
    [ -n "$base" ] || fail "set MIKROSCOPE_INSTALL_BASE_URL to the address, or the directory, of the files of a release"
    umask 022 # a service runs as another user; the config file is made for its owner only
    make_directory "$install_dir" MIKROSCOPE_INSTALL_DIR
    make_directory "$bin_dir" MIKROSCOPE_BIN_DIR
    is_ours "$bin_dir/mikroscope" || fail "$bin_dir/mikroscope was not made by this installer: move it, or choose another directory by MIKROSCOPE_BIN_DIR"
    rm -rf "$install_dir"/.incoming.* # of a run that was killed
    work=$install_dir/.incoming.$$
    mkdir -m 700 "$work" || fail "$install_dir cannot be written"
    fetch_sums
    find_python
    say "fetching $archive"
    fetch "$archive" || fail "$base/$archive cannot be fetched: $problem"
    verify
    unpack
    release=${archive#mikroscope-}
    release=${release%-"$tag".tar.gz}
    put_in_place
    configure
    try_out
    switch
    make_wrapper
    report
}

uninstall() {
    [ -d "$install_dir/versions" ] || fail "there is no MikroScope in $install_dir (MIKROSCOPE_INSTALL_DIR names another)"
    [ -w "$install_dir" ] || fail "$install_dir cannot be written: permission denied"
    if [ -e "$bin_dir/mikroscope" ] && is_ours "$bin_dir/mikroscope"; then
        rm -f "$bin_dir/mikroscope"
    fi
    rm -rf "$install_dir/versions" "$install_dir/current" "$install_dir/bin.path" "$install_dir"/.incoming.*
    [ "$1" = 0 ] || rm -rf "$config" "$install_dir/logs" "$install_dir/data"
    rmdir "$install_dir" 2>/dev/null || say "kept: $(find "$install_dir" -mindepth 1 -maxdepth 1 | tr '\n' ' ')"
    say "MikroScope is uninstalled; what config, logs and index lie elsewhere stays"
}

main() {
    wanted=install
    purge=0
    skip_checksum=${MIKROSCOPE_INSTALL_SKIP_CHECKSUM:-0}
    for argument; do
        case $argument in
            --uninstall) wanted=uninstall ;;
            --purge) purge=1 ;;
            --skip-checksum) skip_checksum=1 ;;
            -h | --help) usage; exit 0 ;;
            *) printf 'install.sh: %s\n' "$argument: unknown argument (--help lists what there is)" >&2; exit 2 ;;
        esac
    done
    [ "$purge" = 0 ] || [ "$wanted" = uninstall ] || fail "--purge goes with --uninstall"

    home_dir=${HOME:-/nonexistent}
    install_dir=${MIKROSCOPE_INSTALL_DIR:-}
    case $0 in # an installed one knows where it is
        */current/install.sh) install_dir=${install_dir:-$(cd "$(dirname "$0")/.." && pwd)} ;;
    esac
    install_dir=$(absolute "${install_dir:-$home_dir/.local/share/mikroscope}")
    bin_dir=${MIKROSCOPE_BIN_DIR:-$(cat "$install_dir/bin.path" 2>/dev/null || :)}
    bin_dir=$(absolute "${bin_dir:-$home_dir/.local/bin}")
    config=$install_dir/mikroscope.config.json
    version=${MIKROSCOPE_INSTALL_VERSION:-}

    exec 3>&2 # what is interrupted may have its errors sent elsewhere
    trap clean_up EXIT
    trap interrupted INT TERM HUP
    if [ "$wanted" = uninstall ]; then
        uninstall "$purge"
    else
        install
    fi
}

main "$@" # last, so that a download that was cut off does nothing
