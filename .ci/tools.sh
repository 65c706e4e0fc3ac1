# Sourced by the scripts beside it: finds a tool or installs it, and says what and why before it does.
# Cargo tools go to a cache of their own, so that a second clean clone does not build them again; a
# tool that is already on the PATH is used as it is.

tools=${WEIGHBRIDGE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/weighbridge/tools}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
PATH=$PATH:$tools/bin:/usr/sbin:/sbin

have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND...: fails where neither root nor a sudo that can be answered is at hand.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo "$@"
    else
        return 1
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

# apt_tool PROGRAM PACKAGE WHY
apt_tool() {
    have "$1" && return 0
    echo "installing $2: $3" >&2
    have apt-get && { apt_install "$2" || { as_root apt-get update -qq >/dev/null 2>&1 && apt_install "$2"; }; } && return 0
    echo "not installed: $2 ($3); as root: apt-get install $2" >&2
    return 1
}

# cargo_tool NAME VERSION WHY: built without the optimisation of its release profile, which costs
# minutes here and would save seconds.
cargo_tool() {
    have "$1" && return 0
    echo "installing $1 $2 into $tools: $3" >&2
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo install --quiet --locked --root "$tools" --version "$2" "$1" && return 0
    echo "not installed: $1 ($3); by hand: cargo install --locked --version $2 $1" >&2
    return 1
}
