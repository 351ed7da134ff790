# Everything the flake exposes for one system.
{ pkgs }:
{
  devShells.default = pkgs.callPackage ./shell.nix { };
  formatter = pkgs.nixfmt-tree;
}
