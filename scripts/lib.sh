# scripts/lib.sh: what the scripts share. To be sourced, from the project's root.

say() { echo "${0##*/}: $*"; }
fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# The line every harness ends with; scripts/test adds these up.
summary() { # NAME PASSED FAILED SKIPPED…
    local name=$1 passed=$2 failed=$3 names
    shift 3
    names=$(printf ', %s' "$@")
    [ $# = 0 ] || names=" (${names#, })"
    [ $# = 0 ] && names=""
    echo "== $name: $passed passed, $failed failed, $# skipped$names"
}
