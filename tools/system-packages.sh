#!/bin/sh
# Installs the Debian packages named as arguments, if any of them is missing.
set -eu

program() { # the program by which a package is known to be there
	case $1 in
	webkit2gtk-driver) echo WebKitWebDriver ;;
	coturn) echo turnserver ;;
	xvfb) echo xvfb-run ;;
	*) echo "$1" ;;
	esac
}

present() {
	case $1 in
	python3-venv) python3 -c 'import ensurepip' 2>/dev/null ;;
	# What WebKitGTK plays MP4 with: libraries, not programs.
	gstreamer1.0-plugins-good) ls /usr/lib/*/gstreamer-1.0/libgstisomp4.so >/dev/null 2>&1 ;;
	gstreamer1.0-libav) ls /usr/lib/*/gstreamer-1.0/libgstlibav.so >/dev/null 2>&1 ;;
	*) (PATH="$PATH:/usr/sbin:/usr/local/sbin"; command -v "$(program "$1")" >/dev/null) ;;
	esac
}

missing=
for package in "$@"; do
	present "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "These are needed and not there (names of Debian's packages):$missing" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "Some system packages are missing. Install them, then run make again:" >&2
	echo "    sudo apt-get install --yes --no-install-recommends$missing" >&2
	exit 1
fi

echo "Installing$missing ..."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086  # a list of names
if ! { apt-get update -q && apt-get install -q --yes --no-install-recommends $missing; } \
	>"$log" 2>&1 </dev/null; then
	cat "$log" >&2
	exit 1
fi
