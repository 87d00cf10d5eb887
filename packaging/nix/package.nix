# tapdraft as a Nix derivation. @VERSION@ is filled in by packaging/recipes.
#
# A file in the Nix store has no capabilities. On NixOS a wrapper has them instead: a small program
# that raises its file capability into the ambient set and executes the one that it wraps. That
# changes what the launcher finds at its start: the capability is also effective, inheritable and
# ambient, and AT_SECURE is gone. WRAPPED=1 builds a launcher that takes the first three back before
# anything else and does not ask for the fourth; see doc/packagers.md for what is lost by it.
{
  lib,
  stdenv,
  pkg-config,
  libseccomp,
  python3,
}:

let
  python = python3.withPackages (
    modules: with modules; [
      docopt-ng
      jinja2
      pyroute2
      python-prctl
    ]
  );
in
stdenv.mkDerivation {
  pname = "tapdraft";
  version = "@VERSION@";

  src = ./tapdraft-@VERSION@.tar.gz;

  nativeBuildInputs = [ pkg-config ];
  buildInputs = [
    libseccomp
    python
    python3
  ];

  makeFlags = [
    "PREFIX=${placeholder "out"}"
    "SYSCONFDIR=/etc"
    "NMDIR=${placeholder "out"}/lib/NetworkManager/conf.d"
    "PYTHON=${python}/bin/python3"
    "WRAPPED=1"
  ];

  # Scripts set a PATH of their own, and nothing of NixOS is where other systems have it.
  postPatch = ''
    substituteInPlace generator/shell.py --replace-fail \
      '"/usr/local/libexec' '"/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/libexec'
  '';

  # The policy is the system's and not the package's: the module writes it to /etc.
  installPhase = ''
    runHook preInstall
    make $makeFlags install DESTDIR="$PWD/root"
    mkdir -p "$out"
    cp -r "root$out/." "$out/"
    install -D -m 644 packaging/policy.conf "$out/share/tapdraft/policy.conf"
    runHook postInstall
  '';

  meta = {
    description = "Reviewable tap and NAT networking for qemu guests, without sudo";
    license = lib.licenses.gpl3Plus;
    platforms = lib.platforms.linux;
    mainProgram = "tapdraft";
  };
}
