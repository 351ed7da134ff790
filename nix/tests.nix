# The tests and simulations of the workspace: compiled once, run as checks.
{
  pkgs,
  rust,
  tools,
}:
let
  inherit (pkgs) lib stdenv;
  inherit (rust) root version;

  # With bugs that the simulation can plant into its copy of the dispatcher, to prove that it finds them.
  archive = rust.cargo "test-archive" {
    nativeBuildInputs = [ pkgs.cargo-nextest ];
    buildPhase = ''
      mkdir $out
      cargo nextest archive --locked --workspace --features slotkeeper-sim/planted --archive-file $out/tests.tar.zst
    '';
    installPhase = "true";
  };

  # Files that tests read in addition to the sources: configurations and manifests are checked against the binaries.
  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      rust.sources
      (root + "/docs/openapi.json")
      (root + "/examples")
      (root + "/k8s")
      (root + "/tests")
    ];
  };

  # Runs in the folder where it was compiled, since tests contain their own and the binaries' paths.
  run =
    name: filter: args:
    stdenv.mkDerivation (
      {
        name = "slotkeeper-${name}-${version}";
        inherit src;
        dontFixup = true;
        buildPhase = ''
          runHook preBuild
          ulimit -n "$(ulimit -Hn)"
          mkdir -p target/tmp
          cargo-nextest nextest run --archive-file ${archive}/tests.tar.zst --extract-to . --extract-overwrite --workspace-remap . \
            --no-fail-fast --status-level slow --final-status-level slow -E ${lib.escapeShellArg filter}
          runHook postBuild
        '';
        installPhase = "touch $out";
        # The Kubernetes client loads the system's CA certificates if the cluster's configuration has none, even for plain HTTP.
        SSL_CERT_FILE = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
      }
      // args
      // {
        nativeBuildInputs = [ pkgs.cargo-nextest ] ++ args.nativeBuildInputs or [ ];
      }
    );

  # Tests that need the network, which a build does not have: tests/manifests/check fetches validators from PyPI and npm. `tests/run`
  # runs them; checks.manifests checks what is possible without. Socket.IO is from npm, too, and client.js is tested with Node.js.
  fetching = "package(slotkeeper-tests) & test(/^(manifests|kubernetes|socketio|client)::/)";

  # The host's browser does not start in a build's sandbox.
  unseen = lib.optionalString (!(pkgs ? chromium)) " & not test(/^browser::/)";

  # `SIM_SEEDS=2000 nix build --impure .#checks.x86_64-linux.simulations` runs more seeds; without --impure the environment is not read.
  seeds =
    let
      asked = builtins.getEnv "SIM_SEEDS";
    in
    if asked == "" then "100" else asked;
in
{
  tests = run "tests" "not package(slotkeeper-sim) & not (${fetching})${unseen}" (
    tools.browser
    // {
      nativeBuildInputs = tools.servers;
      preBuild = lib.optionalString (
        unseen != ""
      ) "echo 'tests: NO BROWSER: this package set has no chromium, browser::* is left out' >&2";
    }
  );

  # Alerts and rules: promtool accepts them, and each fires when it should.
  promtool =
    run "promtool" "package(slotkeeper-tests) & test(/^monitoring::(promtool|every_alert|what_an_alert)/)"
      { nativeBuildInputs = tools.servers; };

  # A seed has one history, every named world passes, every planted bug is found; then a fixed sequence of seeds.
  simulations = run "simulations" "package(slotkeeper-sim)" {
    # The stand-in for Redis is compared with a real one.
    nativeBuildInputs = [ rust.binaries.slotkeeper-sim ] ++ tools.servers;
    postBuild = "slotkeeper-sim hunt --from 1 --seeds ${lib.escapeShellArg seeds}";
  };
}
