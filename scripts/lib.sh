# scripts/lib.sh: what the scripts share. To be sourced, from the project's root.

say() { echo "${0##*/}: $*"; }
fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}
