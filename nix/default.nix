# Everything the flake exposes for one system.
{ pkgs, build }:
let
  rust = import ./rust.nix { inherit pkgs; };
  images = import ./images.nix { inherit pkgs build rust; };
in
{
  packages =
    rust.binaries
    // images
    // {
      default = rust.binaries.slotkeeper;
    };
  checks = rust.checks;
  devShells.default = pkgs.callPackage ./shell.nix { };
  formatter = pkgs.nixfmt-tree;
}
