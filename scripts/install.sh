#!/bin/sh
# Installs MikroScope from a release: curl -fsSL ADDRESS/install.sh | sh
# Needs neither root nor a package index. For the options, run `sh install.sh --help`.
set -eu

BASE_URL=""
MARK="# made by the MikroScope installer"

usage() {
    cat <<'END'
usage: install.sh [--uninstall [--purge]] [--skip-checksum] [--help]

Downloads a release archive with curl or wget, verifies it against SHA256SUMS.txt, unpacks it, asks
for the configuration, and installs the command `mikroscope`. Run it again to upgrade: the old version
stays in use until the new one has answered. It needs CPython 3.11 or newer.

  --uninstall      remove the program and the command; config, logs and index stay
  --purge          with --uninstall: remove those as well, if they are in the install directory
  --skip-checksum  install even if the checksum is missing or wrong

Environment:
  MIKROSCOPE_INSTALL_BASE_URL        address, or directory, of the release files
  MIKROSCOPE_INSTALL_VERSION         version, if there is more than one at that address
  MIKROSCOPE_INSTALL_DIR             where to install   [~/.local/share/mikroscope]
  MIKROSCOPE_BIN_DIR                 where to put the command   [~/.local/bin]
  MIKROSCOPE_INSTALL_NONINTERACTIVE  1: ask no questions
  MIKROSCOPE_INSTALL_SKIP_CHECKSUM   1: same as --skip-checksum
  MIKROSCOPE_PYTHON                  the Python to use

You can set whatever it asks for, and any other option, with the variable of that option. The installer
writes it to the config file, unless there is one already: MIKROSCOPE_HOST, MIKROSCOPE_PORT, MIKROSCOPE_LOGS_PATH,
MIKROSCOPE_DB_PATH, MIKROSCOPE_API_TOKEN, MIKROSCOPE_AUTH_USERNAME, MIKROSCOPE_AUTH_PASSWORD,
MIKROSCOPE_INGEST_PRODUCERS and so on.
END
}

say() { printf '%s\n' "$*"; }

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

# --- clean-up -------------------------------------------------------------------------------

work="" # holds everything unfinished; only the installer that created this directory may work
unproven="" # a new version that has not answered yet
draft="" # a command that is being written
child=""

clean_up() {
    [ "$child" != starting ] || child=${!:-}
    if [ -n "$child" ] && kill "$child" 2>/dev/null; then
        wait "$child" || : # the code below removes what it has begun
    fi
    [ -z "$draft" ] || rm -f "$draft"
    [ -z "$unproven" ] || mv "$unproven" "$work/unproven" 2>/dev/null || :
    [ -z "$work" ] || rm -rf "$work"
}

interrupted() {
    trap - EXIT
    clean_up
    printf '\ninstall.sh: interrupted: run it again to finish\n' >&3
    exit 130
}

reason() { # why the last command failed
    found=$(tail -n 1 "$work/log" 2>/dev/null || :)
    # A full disk has no space for the reason, either.
    free=$(df -Pk "$install_dir" | { read -r _; read -r _ _ _ free _; printf '%s' "$free"; })
    [ "$free" -gt 1024 ] || found=${found:-No space left on device ($free kB are free)}
    printf '%s' "${found:-it gave no reason}"
}

run() { # a shell handles a signal at once while it waits, but not while it runs a command
    child=starting
    "$@" &
    child=$!
    code=0
    wait "$child" || code=$?
    child=""
    return "$code"
}

# --- requirements ---------------------------------------------------------------------------

absolute() {
    case $1 in
        /*) printf '%s' "$1" ;;
        *) printf '%s/%s' "$PWD" "$1" ;;
    esac
}

at_home() { # PATH VARIABLE
    [ -n "${HOME:-}" ] || fail "HOME is not set: set $2 to a directory"
    printf '%s' "$HOME/$1"
}

quoted() { # for a shell script
    printf "'"
    printf '%s' "$1" | sed "s/'/'\\\\''/g"
    printf "'"
}

make_directory() { # DIRECTORY VARIABLE
    problem=$(mkdir -p "$1" 2>&1) || fail "$1 cannot be created: ${problem##*: } (choose another with $2)"
    [ -w "$1" ] || fail "$1 is not writable: permission denied (choose another with $2)"
}

python_tag() { # the name of this machine with this Python in release archives
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
    [ -n "$seen" ] || fail "CPython 3.11 or newer is needed, but none was found: install it, or set MIKROSCOPE_PYTHON to its path"
    [ -n "$(archives)" ] || fail "$site/SHA256SUMS.txt lists no archive: is this the address of a release?"
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
        # shellcheck disable=SC2254 # without a version any matches: the pattern is intended
        case $name in
            */*) continue ;;
            mikroscope-${version:-*}-"$tag".tar.gz) ;;
            *) continue ;;
        esac
        [ -z "$archive" ] || fail "there is more than one version at $site: choose one with MIKROSCOPE_INSTALL_VERSION"
        archive=$name
        expected=$sum
    done <"$work/SHA256SUMS.txt"
    if [ -z "$archive" ] && [ "$skip_checksum" = 1 ] && [ -n "$version" ]; then
        archive=mikroscope-$version-$tag.tar.gz
    fi
    [ -n "$archive" ]
}

fetch() { # NAME: download from the release into $work; sets problem if that fails
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
        # The address goes into a file: it may hold a password, and every user can see a program's arguments.
        printf 'url = "%s"\n' "$base/$1" >"$work/address"
        run curl -fsSL --retry 2 --connect-timeout 20 -o "$work/$1" -K "$work/address" 2>"$work/log" && return
    elif command -v wget >/dev/null; then
        limits="" # not every wget has these options, and some crash
        case $(wget --version 2>/dev/null) in *GNU*) limits="-T 60 -t 2" ;; esac
        # shellcheck disable=SC2086 # splitting into words is intended
        run wget -nv $limits -O "$work/$1" "$base/$1" 2>"$work/log" && return
    else
        fail "curl or wget is needed: install one of them"
    fi
    problem=$(reason)
    return 1
}

fetch_sums() {
    fetch SHA256SUMS.txt && return
    rm -f "$work/SHA256SUMS.txt"
    [ "$skip_checksum" = 1 ] || fail "cannot download $site/SHA256SUMS.txt: $problem (to install without it, use --skip-checksum)"
    [ -n "$version" ] || fail "without SHA256SUMS.txt, set MIKROSCOPE_INSTALL_VERSION to the version"
    : >"$work/SHA256SUMS.txt"
}

verify() { # sets sum
    sum=$("$python" -I -c '
import hashlib, sys
with open(sys.argv[1], "rb") as file:
    print(hashlib.file_digest(file, "sha256").hexdigest())' "$work/$archive")
    [ "$sum" != "$expected" ] || return 0
    if [ "$skip_checksum" != 1 ]; then
        fail "$archive does not match SHA256SUMS.txt: expected $expected, got $sum; not installed"
    fi
    say "warning: $archive is not verified: expected ${expected:-no known checksum}, got $sum" >&2
}

unpack() {
    say "unpacking $archive"
    unpacked=$work/unpacked/${archive%.tar.gz}
    # Writes nothing outside: a release contains only files, all of them in its directory.
    run "$python" -I -c '
import sys, tarfile
source, target, top = sys.argv[1:]
options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
try:
    with tarfile.open(source, "r:gz") as archive:
        for entry in archive:
            parts = entry.name.split("/")
            if not entry.isfile() or parts[0] != top or ".." in parts:
                sys.exit(f"{entry.name!r} does not belong in a release")
            archive.extract(entry, target, **options)
except (OSError, EOFError, tarfile.TarError) as error:
    sys.exit(getattr(error, "strerror", None) or str(error))' \
        "$work/$archive" "$work/unpacked" "${archive%.tar.gz}" 2>"$work/log" ||
        fail "$archive cannot be unpacked in $install_dir: $(reason)"
    rm -f "$work/$archive" # makes space for what follows
    [ -f "$unpacked/mikroscope" ] || fail "$archive is not a MikroScope release: it has no ${archive%.tar.gz}/mikroscope"
    [ -x "$unpacked/mikroscope" ] || fail "cannot run programs in $install_dir: its file system is mounted noexec (choose another with MIKROSCOPE_INSTALL_DIR)"
}

# --- the version ----------------------------------------------------------------------------

is_whole() { # whether the directory has the unpacked files, byte for byte
    "$python" -I -c '
import filecmp, os, sys
source, target = sys.argv[1:]
for directory, _, names in os.walk(source):
    there = os.path.join(target, os.path.relpath(directory, source))
    if filecmp.cmpfiles(directory, there, names, shallow=False)[1:] != ([], []):
        sys.exit(1)' "$unpacked" "$1"
}

put_in_place() { # one directory per archive, named after its checksum: files in use are never changed
    target=$install_dir/versions/$release-$(printf '%.12s' "$sum")
    mkdir -p "$install_dir/versions"
    while [ -d "$target" ] && ! is_whole "$target"; do # it was damaged
        target=$target+
    done
    if [ ! -d "$target" ]; then
        unproven=$target
        mv "$unpacked" "$target"
    fi
    "$python" -I -c 'import os, sys; print(os.path.realpath(sys.executable))' >"$target/python.path" ||
        fail "$target cannot be written: is there enough space?"
    # Compile now: the user who starts it later may not have permission to write here.
    run "$python" -I -m compileall -q "$target/lib" >/dev/null 2>&1 || :
}

step() { # STEP ARGUMENTS: a step that only the version itself can do
    PYTHONPATH=$target/lib PYTHONSAFEPATH=1 run "$python" "$target/install_steps.py" "$@" \
        --config "$config" --work "$work" 2>"$work/log"
}

try_out() {
    say "testing version $release on a free port"
    step try-out && return
    fail "version $release does not work here: $(reason)${current:+; $(basename "$current") stays}"
}

switch() {
    [ "$current" != "versions/${target##*/}" ] || { unproven=""; return 0; }
    ln -s "versions/${target##*/}" "$work/current"
    unproven="" # before the link is replaced: from then on an interruption must not remove it
    "$python" -I -c 'import os, sys; os.replace(*sys.argv[1:])' "$work/current" "$install_dir/current"
    for old in "$install_dir"/versions/*; do # the previous version stays: it may still be running
        case versions/${old##*/} in
            "$current" | "versions/${target##*/}") ;;
            *) mv "$old" "$work" ;; # out of sight in one step; deleted later
        esac
    done
}

# --- the configuration ----------------------------------------------------------------------

configure() {
    if [ -e "$config" ]; then
        say "keeping $config as it is"
        return
    fi
    set -- --home "$install_dir" --directory "$PWD"
    if [ "${MIKROSCOPE_INSTALL_NONINTERACTIVE:-}" != 1 ] && (: </dev/tty) 2>/dev/null; then
        set -- "$@" --ask
    fi
    step write-config "$@" || fail "the config file was not written: $(reason)"
}

# --- the command ----------------------------------------------------------------------------

mark() { printf "%s: sh %s --uninstall" "$MARK" "$(quoted "$install_dir/current/install.sh")"; }

is_ours() { [ ! -e "$1" ] || grep -qF "$MARK" "$1" 2>/dev/null; }

remove_wrapper() { # in the directory of the last run, if it starts the program installed here
    [ -s "$install_dir/bin.path" ] || return 0
    wrapper=$(cat "$install_dir/bin.path")/mikroscope
    if grep -qxF "$(mark)" "$wrapper" 2>/dev/null; then
        rm -f "$wrapper"
    fi
}

make_wrapper() {
    wrapper=$bin_dir/mikroscope
    draft=$wrapper.$$
    cat >"$draft" <<END || fail "$wrapper cannot be written: is there enough space?"
#!/bin/sh
$(mark)
if [ -z "\${MIKROSCOPE_CONFIG_PATH:-}" ] && [ ! -e mikroscope.config.json ] && [ -e $(quoted "$config") ]; then
    export MIKROSCOPE_CONFIG_PATH=$(quoted "$config")
fi
exec $(quoted "$install_dir/current/mikroscope") "\$@"
END
    chmod 755 "$draft"
    mv -f "$draft" "$wrapper"
    draft=""
    [ "$(cat "$install_dir/bin.path" 2>/dev/null || :)" = "$bin_dir" ] || remove_wrapper
    printf '%s\n' "$bin_dir" >"$install_dir/bin.path"
}

report() {
    say "MikroScope $release is installed in $install_dir"
    say "  config: $config"
    say "  start:  mikroscope serve"
    [ "${current:-versions/${target##*/}}" = "versions/${target##*/}" ] || say "  restart a running server to use the new version"
    case ":$PATH:" in
        *":$bin_dir:"*) ;;
        *)
            say "$bin_dir is not in your PATH; to add it, run:"
            say "  export PATH=$(quoted "$bin_dir"):\"\$PATH\""
            ;;
    esac
}

# --- commands -------------------------------------------------------------------------------

be_alone() { # make sure that no other installer works in the install directory; sets work
    if ! mkdir -m 700 "$install_dir/.incoming" 2>/dev/null; then
        other=$(cat "$install_dir/.incoming/process" 2>/dev/null || :)
        if [ -z "$other" ] || kill -0 "$other" 2>/dev/null || [ -d "/proc/$other" ]; then
            fail "another installer${other:+, process $other,} is working in $install_dir; if not, delete $install_dir/.incoming"
        fi
        rm -rf "$install_dir/.incoming" # left by a run that was killed
        mkdir -m 700 "$install_dir/.incoming" || fail "$install_dir/.incoming cannot be created"
    fi
    work=$install_dir/.incoming
    echo $$ >"$work/process" || fail "$install_dir cannot be written: is there enough space?"
}

is_for_us() { # whether the install directory holds only files of ours, or none
    current=$(readlink "$install_dir/current" || :)
    [ -n "$current" ] || [ ! -e "$install_dir/current" ] || return 1
    for found in "$install_dir"/versions/* "$current"; do
        case ${found##*/} in
            "*" | "" | *-????????????*) ;; # none, or VERSION-SUM
            *) return 1 ;;
        esac
    done
}

install() {
    base=${MIKROSCOPE_INSTALL_BASE_URL:-$BASE_URL}
    base=${base%/}
    site=$(printf '%s' "$base" | sed 's|//[^/]*@|//…@|') # without the password
    [ -n "$base" ] || fail "set MIKROSCOPE_INSTALL_BASE_URL to the address, or the directory, of the release files"
    umask 022 # a service runs as another user; the config file is readable by its owner only
    make_directory "$install_dir" MIKROSCOPE_INSTALL_DIR
    make_directory "$bin_dir" MIKROSCOPE_BIN_DIR
    is_for_us || fail "$install_dir holds versions of another program: choose another with MIKROSCOPE_INSTALL_DIR"
    is_ours "$bin_dir/mikroscope" || fail "$bin_dir/mikroscope was not created by this installer: move it, or choose another directory with MIKROSCOPE_BIN_DIR"
    be_alone
    fetch_sums
    find_python
    say "downloading $archive"
    fetch "$archive" || fail "cannot download $site/$archive: $problem"
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

is_named() { # KEY DIRECTORY: whether the config has KEY in DIRECTORY; other files may not be ours
    "$(cat "$install_dir/current/python.path")" -I -c '
import json, os, sys
config, key, directory = sys.argv[1:]
with open(config) as file:
    path = json.load(file)[key]
sys.exit(os.path.commonpath([path, directory]) != directory)' "$config" "$1" "$2" 2>/dev/null
}

uninstall() { # PURGE
    if [ ! -d "$install_dir/versions" ] || ! is_for_us; then
        fail "there is no MikroScope in $install_dir (set MIKROSCOPE_INSTALL_DIR to where it is)"
    fi
    [ -w "$install_dir" ] || fail "$install_dir is not writable: permission denied"
    be_alone
    remove_wrapper
    if [ "$1" = 1 ]; then
        if is_named logsPath "$install_dir/logs"; then rm -rf "$install_dir/logs"; fi
        if is_named dbPath "$install_dir/data"; then rm -rf "$install_dir/data"; fi
        rm -f "$config"
    fi
    # The versions last: as long as there are some, you can repeat an interrupted uninstall.
    rm -rf "$install_dir/current" "$install_dir/bin.path" "$install_dir/versions" "$work"
    rmdir "$install_dir" 2>/dev/null || say "kept: $(find "$install_dir" -mindepth 1 -maxdepth 1 | tr '\n' ' ')"
    say "MikroScope is uninstalled; config, logs and index outside $install_dir stay"
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
            *) printf 'install.sh: %s\n' "$argument: unknown argument (see --help)" >&2; exit 2 ;;
        esac
    done
    [ "$purge" = 0 ] || [ "$wanted" = uninstall ] || fail "--purge requires --uninstall"

    install_dir=${MIKROSCOPE_INSTALL_DIR:-}
    case $0 in # an installed copy knows its directory
        */current/install.sh) install_dir=${install_dir:-$(CDPATH="" cd -- "$(dirname "$0")/.." && pwd)} ;;
    esac
    install_dir=${install_dir:-$(at_home .local/share/mikroscope MIKROSCOPE_INSTALL_DIR)}
    install_dir=$(absolute "$install_dir")
    bin_dir=${MIKROSCOPE_BIN_DIR:-$(cat "$install_dir/bin.path" 2>/dev/null || :)}
    bin_dir=${bin_dir:-$(at_home .local/bin MIKROSCOPE_BIN_DIR)}
    bin_dir=$(absolute "$bin_dir")
    case $install_dir$bin_dir in
        *"
"*) fail "the name of a directory contains a line break" ;;
    esac
    config=$install_dir/mikroscope.config.json
    version=${MIKROSCOPE_INSTALL_VERSION:-}

    exec 3>&2 # stderr of an interrupted command may go elsewhere
    trap clean_up EXIT
    trap interrupted INT TERM HUP
    if [ "$wanted" = uninstall ]; then
        uninstall "$purge"
    else
        install
    fi
}

main "$@" # last, so that a truncated download does nothing
