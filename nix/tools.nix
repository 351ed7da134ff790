# Programs besides the Rust toolchain that tests and the README's commands start.
{ pkgs }:
let
  inherit (pkgs) lib;
  # A package set that lacks one (a stand-in made of a host's own tools) leaves it to the PATH; who needs it then says what is missing.
  those = names: lib.concatMap (name: lib.optional (pkgs ? ${name}) pkgs.${name}) names;
in
{
  # What end-to-end tests drive.
  servers =
    those [
      "chromedriver"
      "chromium"
      "prometheus"
      "redis"
    ]
    # nixpkgs has promtool in an output of its own.
    ++ lib.optional (pkgs ? prometheus.cli) pkgs.prometheus.cli;

  # A browser without fonts draws nothing.
  browser = lib.optionalAttrs (pkgs ? makeFontsConf) {
    FONTCONFIG_FILE = pkgs.makeFontsConf { fontDirectories = [ pkgs.dejavu_fonts ]; };
  };

  # What scripts of tests/ and k8s/ call.
  scripts =
    those [
      "nodejs"
      "util-linux"
    ]
    ++ [
      pkgs.curl
      pkgs.jq
      pkgs.kind
      pkgs.kubectl
      pkgs.python3
      pkgs.shellcheck
      pkgs.skopeo
    ];
}
