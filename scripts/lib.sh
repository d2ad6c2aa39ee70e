# What scripts/quickstart and scripts/test share. Sourced, not run.
# shellcheck shell=sh

say() {
	printf '%s\n' "$*" >&2
}

die() {
	say "$*"
	exit 1
}

# The distribution's manner of packaging: deb, rpm, or nothing known.
package_kind() {
	if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null
	then
		echo deb
	elif command -v dnf >/dev/null && command -v rpm >/dev/null; then
		echo rpm
	fi
}

# has_package KIND NAME
has_package() {
	case $1 in
	deb)
		dpkg-query -W -f '${db:Status-Status}\n' "$2" 2>/dev/null |
		    grep -qx installed ;;
	rpm) rpm -q --whatprovides "$2" >/dev/null 2>&1 ;;
	esac
}

# need_packages DEBS RPMS: install what is not there, as root or by sudo.
# "a|b" in DEBS stands for the first of both that is installed or known.
need_packages() {
	kind=$(package_kind)
	case $kind in
	deb) wanted=$1 ;;
	rpm) wanted=$2 ;;
	*)
		say "Neither apt nor dnf is here; these packages are needed," \
		    "under whatever names: $2"
		return 0 ;;
	esac

	missing=
	for p in $wanted; do
		have=
		for name in $(echo "$p" | tr '|' ' '); do
			if has_package "$kind" "$name"; then
				have=$name
			fi
		done
		[ -n "$have" ] || missing="$missing $p"
	done
	[ -n "$missing" ] || return 0

	sudo=
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || die "These packages are missing" \
		    "and neither root nor sudo is at hand:$missing"
		sudo=sudo
	fi
	say "Installing:$missing"
	if [ "$kind" = rpm ]; then
		# shellcheck disable=SC2086 # a list of words
		$sudo dnf -y install $missing >&2
		return
	fi
	$sudo apt-get -q update >&2 || return
	names=
	for p in $missing; do
		for name in $(echo "$p" | tr '|' ' '); do
			if apt-cache show "$name" >/dev/null 2>&1; then
				break
			fi
		done
		names="$names $name"
	done
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
	    --no-install-recommends install $names >&2
}

# What the build needs. The names of Debian and of Fedora side by side.
need_build_packages() {
	need_packages "autoconf automake gcc libc6-dev make pkg-config|pkgconf
	    libevent-dev libmsgpack-dev|libmsgpack-c-dev libyaml-dev
	    libzstd-dev zlib1g-dev libcurl4-openssl-dev|libcurl4-gnutls-dev libxxhash-dev
	    libjson-c-dev libpcre2-dev libssl-dev uthash-dev" \
	    "autoconf automake gcc glibc-devel make pkgconf-pkg-config
	    libevent-devel msgpack-devel libyaml-devel
	    libzstd-devel zlib-devel libcurl-devel xxhash-devel
	    json-c-devel pcre2-devel openssl-devel uthash-devel diffutils findutils tar"
}

# copy_source FROM TO: the sources without what a build has left there.
copy_source() {
	mkdir -p "$2" && (
		cd "$1" && tar cf - --exclude=./.git --exclude='./build*' \
		    --exclude=./autom4te.cache --exclude=./config.status \
		    --exclude=./config.h --exclude=./config.log \
		    --exclude=./stamp-h1 --exclude=./Makefile \
		    --exclude='*.o' --exclude='*.a' --exclude='*.log' \
		    --exclude='*.trs' --exclude=.deps --exclude=.dirstamp \
		    --exclude=__pycache__ --exclude=node_modules .
	) | (cd "$2" && tar xf -)
}
