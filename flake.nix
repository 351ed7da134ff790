{
  description = "Slotkeeper: a session dispatcher for pods that serve one person at a time";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { nixpkgs, ... }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      project = lib.genAttrs systems (
        system: import ./nix { pkgs = nixpkgs.legacyPackages.${system}; }
      );
      output = name: lib.mapAttrs (_: p: p.${name}) project;
    in
    {
      devShells = output "devShells";
      formatter = output "formatter";
    };
}
