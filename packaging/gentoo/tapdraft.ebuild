# shellcheck shell=bash disable=SC2016,SC2034,SC2154  # read by portage
# Distributed under the terms of the GNU General Public License v3 or later
# Copied by packaging/recipes to tapdraft-VERSION.ebuild; the group is acct-group/tapdraft.

EAPI=8

PYTHON_COMPAT=( python3_{11..13} )

inherit fcaps python-single-r1 systemd toolchain-funcs

DESCRIPTION="Reviewable tap and NAT networking for qemu guests, without sudo"
HOMEPAGE="https://tapdraft.invalid"
SRC_URI="${P}.tar.gz"

LICENSE="GPL-3+"
SLOT="0"
KEYWORDS="~amd64 ~arm64"
IUSE="+helper"
REQUIRED_USE="${PYTHON_REQUIRED_USE}"
RESTRICT="fetch"

RDEPEND="
	${PYTHON_DEPS}
	$(python_gen_cond_dep '
		dev-python/docopt-ng[${PYTHON_USEDEP}]
		dev-python/jinja2[${PYTHON_USEDEP}]
		dev-python/pyroute2[${PYTHON_USEDEP}]
	')
	helper? (
		$(python_gen_cond_dep 'dev-python/python-prctl[${PYTHON_USEDEP}]')
		acct-group/tapdraft
		sys-libs/libseccomp
	)
"
DEPEND="${RDEPEND}"
BDEPEND="virtual/pkgconfig"

# Permitted, not effective: the launcher takes an effective capability for the caller's own. With
# -m and -M the file is closed to others whether or not the file system holds capabilities; without
# them, fcaps would make it setuid root where it does not.
FILECAPS=( -o 0 -g tapdraft -m 0750 -M 0750 cap_net_admin=p usr/libexec/tapdraft/tapdraft-helper )

tapdraft_make() {
	emake CC="$(tc-getCC)" PREFIX="${EPREFIX}/usr" SYSCONFDIR="${EPREFIX}/etc" \
		LIBEXECDIR="${EPREFIX}/usr/libexec" DOCDIR="${EPREFIX}/usr/share/doc/${PF}" \
		PYTHON="${PYTHON}" DESTDIR="${D}" "$@"
}

src_compile() {
	tapdraft_make all
}

src_install() {
	tapdraft_make install-command
	if use helper; then
		tapdraft_make install-helper install-service UNITDIR="$(systemd_get_systemunitdir)"
		fowners root:tapdraft /usr/libexec/tapdraft/tapdraft-helper
		fperms 0750 /usr/libexec/tapdraft/tapdraft-helper
	fi
	einstalldocs
}

pkg_postinst() {
	use helper || return 0
	fcaps_pkg_postinst
	# acct-group/tapdraft takes an existing group as it is.
	local members
	members=$(getent group tapdraft | cut -d : -f 4)
	if [[ -z ${REPLACING_VERSIONS} && -n ${members} ]]; then
		ewarn "The group tapdraft has members, who may now run tapdraft-helper: ${members}"
	fi
}
