# The Rust workspace: its sources, its binaries, and cargo's checks.
{ pkgs }:
let
  inherit (pkgs) lib rustPlatform stdenv;
  root = ../.;
  inherit (lib.importTOML (root + "/Cargo.toml")) workspace;
  inherit (workspace.package) license version;

  # All files that cargo reads for any build: an edit of a manifest, a script or this file recompiles nothing.
  sources = lib.fileset.unions [
    (root + "/.cargo")
    (root + "/Cargo.lock")
    (root + "/Cargo.toml")
    (root + "/clippy.toml")
    (root + "/crates")
    (root + "/rustfmt.toml")
    (root + "/sim")
    (lib.fileset.fileFilter (file: file.hasExt "rs" || file.hasExt "toml") (root + "/tests"))
  ];
  src = lib.fileset.toSource {
    inherit root;
    fileset = sources;
  };

  cargoLock.lockFile = root + "/Cargo.lock";

  # One package of the workspace, built separately: features that only tests enable in a shared crate (such as tokio's paused clock) are in no
  # shipped binary, and an image's closure contains nothing else.
  binary =
    {
      package,
      program ? package,
      bins ? [
        "--bin"
        program
      ],
      description,
      ...
    }@args:
    rustPlatform.buildRustPackage (
      {
        inherit version src cargoLock;
        pname = program;
        cargoBuildFlags = [
          "--package"
          package
        ]
        ++ bins;
        doCheck = false; # checks.tests
        # Panics report file and line even without symbols, which are a fifth of the binary.
        postInstall = "strip --strip-all $out/bin/*";
        meta = {
          inherit description;
          mainProgram = program;
          license = lib.licenses.asl20;
          platforms = lib.platforms.linux;
        };
      }
      // removeAttrs args [
        "package"
        "program"
        "bins"
        "description"
      ]
    );

  # A cargo command on the workspace, offline, with the crates of Cargo.lock.
  cargo =
    name: args:
    stdenv.mkDerivation (
      {
        name = "slotkeeper-${name}-${version}";
        inherit src;
        cargoDeps = rustPlatform.importCargoLock cargoLock;
        strictDeps = true;
        dontFixup = true;
        installPhase = "touch $out";
      }
      // args
      // {
        nativeBuildInputs = [
          pkgs.cargo
          pkgs.rustc
          rustPlatform.cargoSetupHook
        ]
        ++ args.nativeBuildInputs or [ ];
      }
    );

  # The workloads are compiled together; each is a package of its own, so that an image's closure contains nothing else.
  workloads = binary {
    package = "slotkeeper-workloads";
    bins = [ "--bins" ];
    description = "Programs for the pods of the examples";
  };
  workload =
    program: description:
    pkgs.runCommand "${program}-${version}" {
      meta = workloads.meta // {
        inherit description;
        mainProgram = program;
      };
    } "install -D ${workloads}/bin/${program} $out/bin/${program}";

  dispatcher = {
    package = "slotkeeper";
    description = "A session dispatcher: gives every browser session its own slot in a pod";
  };
in
{
  inherit
    root
    license
    version
    sources
    cargo
    ;

  binaries = {
    slotkeeper = binary dispatcher;
    slotkeeper-sim = binary {
      package = "slotkeeper-sim";
      description = "Simulation of a session dispatcher and its cluster from one seed";
    };
    slotkeeper-console = workload "slotkeeper-console" "A small game console for one player";
    slotkeeper-gateway = workload "slotkeeper-gateway" "Thousands of WebSockets in one pod: echo, rooms, and a chat across pods";
  };

  # The dispatcher of the image: without the feature `demo`, so without the consoles inside.
  dispatcher = binary (dispatcher // { buildNoDefaultFeatures = true; });

  checks = {
    clippy = cargo "clippy" {
      nativeBuildInputs = [ pkgs.clippy ];
      buildPhase = "cargo clippy --locked --workspace --all-targets --features slotkeeper-sim/planted -- --deny warnings";
    };
    fmt = cargo "fmt" {
      nativeBuildInputs = [ pkgs.rustfmt ];
      buildPhase = "cargo fmt --all --check";
    };
    doc = cargo "doc" {
      env.RUSTDOCFLAGS = "--deny warnings";
      buildPhase = "cargo doc --locked --workspace --no-deps";
    };
    deny = cargo "deny" {
      nativeBuildInputs = [ pkgs.cargo-deny ];
      src = lib.fileset.toSource {
        inherit root;
        fileset = lib.fileset.union sources (root + "/deny.toml");
      };
      # Without advisories: they need the network, and a new one would fail a commit that passed before.
      buildPhase = ''
        status=0
        cargo-deny --version || status=$?
        if [ $status = 127 ]; then
          echo "deny: NOT CHECKED, SINCE THERE IS NO cargo-deny" >&2
        else
          cargo deny --offline check bans licenses sources
        fi
      '';
    };
  };
}
