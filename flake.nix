{
  description = "Slotkeeper: a session dispatcher for pods that serve one visitor each";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];

      # The information about the commit that a build may use: it changes only with HEAD.
      build = {
        revision = self.rev or self.dirtyRev or "unknown";
        created = self.lastModifiedDate or "19700101000000";
      };
      project = lib.genAttrs systems (
        system:
        import ./nix {
          inherit build;
          pkgs = nixpkgs.legacyPackages.${system};
        }
      );
      output = name: lib.mapAttrs (_: p: p.${name}) project;
    in
    {
      packages = output "packages";
      checks = output "checks";
      apps = output "apps";
      devShells = output "devShells";
      formatter = output "formatter";
    };
}
