# The tests and simulations of the workspace: compiled once, run as checks.
{
  pkgs,
  rust,
  tools,
}:
let
  inherit (pkgs) lib stdenv;
  inherit (rust) root version;

  # With bugs that the simulation can plant into its own copy of the dispatcher, to prove that it finds them.
  archive = rust.cargo "test-archive" {
    nativeBuildInputs = [ pkgs.cargo-nextest ];
    buildPhase = ''
      mkdir $out
      cargo nextest archive --locked --workspace --features slotkeeper-sim/planted --archive-file $out/tests.tar.zst
    '';
    installPhase = "true";
  };

  # What tests read besides the sources: configurations and manifests are held against the binaries.
  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      rust.sources
      (root + "/examples")
      (root + "/k8s")
      (root + "/tests")
    ];
  };

  # Runs where it was compiled, since tests know their own and the binaries' places from then.
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
        # The Kubernetes client looks for certificates of public names where a cluster has none of its own, and be it to speak HTTP.
        SSL_CERT_FILE = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
      }
      // args
      // {
        nativeBuildInputs = [ pkgs.cargo-nextest ] ++ args.nativeBuildInputs or [ ];
      }
    );

  # Those that read what tests/manifests/check renders: it fetches validators from PyPI and npm, and a build has no network. `tests/run`
  # runs them; checks.manifests asks what can be asked without. Socket.IO comes from npm as well, and client.js is tried in a Node.js.
  fetching = "package(slotkeeper-tests) & test(/^(manifests|kubernetes|socketio|client)::/)";

  # A host's own browser does not start in a build's sandbox.
  unseen = lib.optionalString (!(pkgs ? chromium)) " & not test(/^browser::/)";

  # `SIM_SEEDS=2000 nix build --impure .#checks.x86_64-linux.simulations` plays more; without --impure nothing is asked of the environment.
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

  # Alerts and rules: what promtool says of them, and that each fires when it should.
  promtool =
    run "promtool" "package(slotkeeper-tests) & test(/^monitoring::(promtool|every_alert|what_an_alert)/)"
      { nativeBuildInputs = tools.servers; };

  # One seed twice is one history, every world with a name, every planted bug found; then seeds of a fixed row.
  simulations = run "simulations" "package(slotkeeper-sim)" {
    # The stand-in of Redis is held against a real one.
    nativeBuildInputs = [ rust.binaries.slotkeeper-sim ] ++ tools.servers;
    postBuild = "slotkeeper-sim hunt --from 1 --seeds ${lib.escapeShellArg seeds}";
  };
}
