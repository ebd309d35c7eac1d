#!/usr/bin/env bash
# Stand-ins for the base images of Dockerfile and docker-compose.yml, from Debian's packages, for machines that reach
# Debian's mirrors and no container registry. Elsewhere the real images are pulled, and this is not needed.
set -euo pipefail

readonly SUITE=bookworm
readonly MIRROR=${MIRROR:-http://deb.debian.org/debian}
readonly PYTHON_IMAGE=python:3.11-slim-bookworm
readonly PROMETHEUS_IMAGE=prom/prometheus:v2.55.1
readonly CERTIFICATES=/etc/ssl/certs/ca-certificates.crt  # this machine's: its registries may be behind a proxy of its own

main() {
	[[ $EUID -eq 0 ]] || fail "debootstrap needs root"
	command -v debootstrap >/dev/null || fail "debootstrap is missing (apt-get install debootstrap)"
	docker info >/dev/null 2>&1 || fail "no Docker daemon answers"
	scratch=$(mktemp -d)
	trap 'rm -rf "$scratch"' EXIT
	has "$PYTHON_IMAGE" || python_image
	has "$PROMETHEUS_IMAGE" || prometheus_image
}

fail() {
	echo "bases: $1" >&2
	exit 1
}

has() {
	docker image inspect "$1" >/dev/null 2>&1
}

# Debian's Python under the names that the official image gives it.
python_image() {
	bootstrap python ca-certificates,libpython3.11,python3,python3-pip,python3-venv
	local root=$scratch/python
	cp "$CERTIFICATES" "$root$CERTIFICATES"
	printf '[global]\ncert = %s\n' "$CERTIFICATES" >"$root/etc/pip.conf"
	rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
	ln -s /usr/bin/python3 "$root/usr/local/bin/python"
	ln -s /usr/bin/python3 "$root/usr/local/bin/python3"
	load python "$PYTHON_IMAGE" --change 'CMD ["python3"]'
}

# Where the official image has its binary, its console and its data.
prometheus_image() {
	bootstrap prometheus ca-certificates,prometheus
	local root=$scratch/prometheus
	ln -s /usr/bin/prometheus "$root/bin/prometheus" 2>/dev/null || true  # /bin is /usr/bin
	mkdir -p "$root/prometheus" "$root/etc/prometheus"
	chown 65534:65534 "$root/prometheus"
	load prometheus "$PROMETHEUS_IMAGE" --change 'ENTRYPOINT ["/bin/prometheus"]' --change 'USER nobody' \
		--change 'WORKDIR /prometheus'
}

bootstrap() {
	echo "bases: debootstrap of $1"
	debootstrap --variant=minbase --include="$2" "$SUITE" "$scratch/$1" "$MIRROR" >"$scratch/$1.log" \
		|| { tail -3 "$scratch/$1.log" >&2; fail "debootstrap of $1 failed"; }
	# As the official images do: what a later `apt-get install` leaves behind is thrown away.
	printf 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";\n' >"$scratch/$1/etc/apt/apt.conf.d/docker-clean"
	printf 'deb %s %s main\n' "$MIRROR" "$SUITE" >"$scratch/$1/etc/apt/sources.list"
	rm -rf "$scratch/$1"/var/cache/apt/* "$scratch/$1"/var/lib/apt/lists/* "$scratch/$1"/usr/share/{doc,man,locale}
}

load() {
	local name=$1 image=$2
	shift 2
	tar -C "$scratch/$name" -c . | docker import "$@" - "$image" >/dev/null
	echo "bases: $image stands in"
}

main "$@"
