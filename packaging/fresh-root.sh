# Sourced by the tests beside it: a fresh Debian root of this machine's own release, and the two packages in it.
# Needs root (or sudo); says `skipped` with the reason, and ends the script, where something is missing.

skip() { echo "skipped: $subject: $1"; exit 0; }
fail() { echo "failed: $subject: $1" >&2; exit 1; }

have cargo-deb || skip "cargo-deb is not installed"
have dpkg-deb && have dpkg-shlibdeps || skip "dpkg-dev is not installed"
have debootstrap || skip "debootstrap is not installed"
as_root true || skip "neither root nor sudo is at hand"

# The release and the mirror are this machine's own, so that the C library is the one these programs were built on.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Identifier: Packages' 2>/dev/null |
    awk -v codename="$codename" '$2 == codename && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || skip "apt names no source for '$codename'"

mapfile -t debs < <(packaging/build-debs dev)
[ "${#debs[@]}" = 2 ] || fail "expected two packages, got ${#debs[@]}: ${debs[*]:-none}"

# The bare root is kept as an archive: unpacking it takes seconds, making it a minute or two.
base=$target/debian-root-$codename.tar
if [ ! -e "$base" ]; then
    echo "making a fresh $codename root"
    made=$(as_root mktemp -d)
    as_root chmod 755 "$made"
    as_root debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus "$codename" "$made" "$mirror" \
        >"$target/debootstrap.log" 2>&1 ||
        { as_root rm -rf --one-file-system "$made"; skip "debootstrap: $(tail -n 1 "$target/debootstrap.log")"; }
    as_root tar -C "$made" --one-file-system -cf "$base.part" .
    as_root mv "$base.part" "$base"
    as_root rm -rf --one-file-system "$made"
fi

root=$(as_root mktemp -d)
trap 'as_root rm -rf --one-file-system "$root"' EXIT
as_root tar -C "$root" -xf "$base"

inside() { as_root chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root "$@"; }

install_debs() {
    as_root cp "${debs[@]}" "$root/tmp/"
    inside sh -c 'dpkg -i /tmp/*.deb' >"$target/dpkg.log" 2>&1 || { cat "$target/dpkg.log" >&2; fail "the packages do not install"; }
}
