# A NixOS module: programs.tapdraft.enable = true; and users in the group tapdraft.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.programs.tapdraft;
  package = pkgs.callPackage ./package.nix { };
in
{
  options.programs.tapdraft = {
    enable = lib.mkEnableOption "tapdraft, taps and NAT for qemu guests without sudo";

    policy = lib.mkOption {
      type = lib.types.lines;
      default = builtins.readFile "${package}/share/tapdraft/policy.conf";
      defaultText = "the policy that comes with tapdraft";
      description = "Who may request what: the content of /etc/tapdraft/policy.conf.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ package ];
    users.groups.tapdraft = { };

    # With a mode it is a file of its own; the helper refuses a link into the store.
    environment.etc."tapdraft/policy.conf" = {
      text = cfg.policy;
      mode = "0644";
    };

    # Network managers leave guests' taps alone.
    environment.etc."systemd/network/05-tapdraft.network".source =
      "${package}/lib/systemd/network/05-tapdraft.network";
    networking.networkmanager.unmanaged = [ "interface-name:td-*" ];

    # Members of the group alone may start it, as elsewhere.
    security.wrappers.tapdraft-helper = {
      source = "${package}/libexec/tapdraft/tapdraft-helper";
      capabilities = "cap_net_admin=p";
      owner = "root";
      group = "tapdraft";
      permissions = "u+rx,g+x";
    };
  };
}
