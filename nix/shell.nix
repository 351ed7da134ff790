# The tools that the README's commands need.
{ pkgs, tools }:
pkgs.mkShell (
  tools.browser
  // {
    packages = [
      pkgs.cargo
      pkgs.cargo-deny
      pkgs.cargo-nextest
      pkgs.clippy
      pkgs.rust-analyzer
      pkgs.rustc
      pkgs.rustfmt
    ]
    ++ tools.servers
    ++ tools.scripts;
    RUST_SRC_PATH = pkgs.rustPlatform.rustLibSrc;
  }
)
