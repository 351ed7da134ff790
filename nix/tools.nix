# Programs that tests and the README's commands start, in addition to the Rust toolchain.
{ pkgs }:
let
  inherit (pkgs) lib;
  # If a package set lacks one (a substitute made of a host's tools), it is looked up in PATH; the test that needs it reports what is missing.
  those = names: lib.concatMap (name: lib.optional (pkgs ? ${name}) pkgs.${name}) names;
in
{
  # For the end-to-end tests.
  servers =
    those [
      "chromedriver"
      "chromium"
      "prometheus"
      "redis"
    ]
    # In nixpkgs promtool is in a separate output.
    ++ lib.optional (pkgs ? prometheus.cli) pkgs.prometheus.cli;

  # Without fonts a browser renders no text.
  browser = lib.optionalAttrs (pkgs ? makeFontsConf) {
    FONTCONFIG_FILE = pkgs.makeFontsConf { fontDirectories = [ pkgs.dejavu_fonts ]; };
  };

  # For the scripts of tests/ and k8s/.
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
