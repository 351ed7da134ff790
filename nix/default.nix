# All outputs of the flake for one system.
{ pkgs, build }:
let
  tools = import ./tools.nix { inherit pkgs; };
  rust = import ./rust.nix { inherit pkgs; };
  images = import ./images.nix { inherit pkgs build rust; };
  tests = import ./tests.nix { inherit pkgs rust tools; };
in
{
  packages =
    rust.binaries
    // images
    // {
      default = rust.binaries.slotkeeper;
      # Boots a virtual machine: needs KVM, so it is not one of the checks.
      k3s-test = pkgs.testers.runNixOSTest (import ./tests/k3s.nix { inherit pkgs images; });
    };
  checks = import ./checks.nix {
    inherit
      pkgs
      rust
      tests
      images
      ;
  };
  apps = import ./apps.nix { inherit pkgs rust images; };
  devShells.default = import ./shell.nix { inherit pkgs tools; };
  formatter = pkgs.nixfmt-tree;
}
