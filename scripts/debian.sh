# scripts/debian.sh: Debian packages that are unpacked beside the system instead of being installed. To be sourced after
# lib.sh, from the project's root, with the path of an empty directory in $scratch. Downloads are verified by apt.

: "${scratch:?}"

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "needs root (or sudo) to run: $*"
    fi
}

apt_updated=0
apt_update() { # once per run, and only if something has to be fetched
    [ $apt_updated = 1 ] && return
    as_root apt-get update -qq || fail "apt-get update failed: is the network there?"
    apt_updated=1
}

# Unpacks a Debian package. Its maintainer scripts never run.
unpack_debian() { # PACKAGE DIRECTORY
    local package=$1 directory=$2
    mkdir -p "$scratch/deb" && rm -f "$scratch"/deb/*.deb
    (cd "$scratch/deb" && apt-get download -qq -o APT::Sandbox::User=root "$package") || return 1
    rm -rf "$directory.new" && mkdir -p "$directory.new"
    dpkg -x "$scratch"/deb/*.deb "$directory.new"
    rm -rf "$directory" && mv "$directory.new" "$directory"
}

candidate() { # PACKAGE: the version that apt would take
    apt-cache policy "$1" | sed -n 's/^ *Candidate: //p'
}

# Debian sid, read through a sources list and apt state of its own, from the mirror this machine uses, so that the system's
# own package lists stay as they are. Commands run with APT_CONFIG=$scratch/sid/apt.conf see it. Returns 1 with the
# reason in $sid_missing if it cannot be had.
open_sid() {
    local mirror sid=$scratch/sid
    [ -f "$sid/open" ] && return
    # shellcheck disable=SC2016  # apt's own placeholders
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort | head -1 || true)
    sid_missing="no apt mirror is configured"
    [ -n "$mirror" ] || return 1
    mkdir -p "$sid/lists/partial" "$sid/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$sid/sources.list"
    cat >"$sid/apt.conf" <<CONF
Dir::Etc::SourceList "$sid/sources.list";
Dir::Etc::SourceParts "/nonexistent";
Dir::State "$sid";
Dir::State::Lists "$sid/lists";
Dir::Cache "$sid/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
CONF
    # shellcheck disable=SC2034  # read by the caller
    sid_missing="Debian sid's package list cannot be had or verified with this machine's Debian keyring"
    if ! APT_CONFIG=$sid/apt.conf apt-get update -qq >"$sid/log" 2>&1 || grep -q '^W: .*signature' "$sid/log"; then
        sed 's/^/    /' "$sid/log" >&2
        return 1
    fi
    touch "$sid/open"
}
