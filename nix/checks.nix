# The checks of `nix flake check`.
{
  pkgs,
  rust,
  tests,
  images,
}:
let
  inherit (pkgs) lib jq runCommand;
  all = lib.attrValues images;

  # Images that k8s/ names and this flake does not build. The manifests choose their tags, but must have one.
  foreign = {
    "gcr.io/distroless/cc-debian12" = "base of the images that docker builds for kind";
    "kindest/node" = "the node of a kind cluster";
    "lscr.io/linuxserver/dolphin" = "the emulator of the GameCube system";
    "nginxinc/nginx-unprivileged" = "serves the landing page of the GameCube system";
    "prom/prometheus" = "scrapes in the kind cluster";
    "registry.k8s.io/e2e-test-images/volume/nfs" = "the library's server in the kind cluster";
    "rust" = "compiles the images that docker builds for kind";
    "valkey/valkey" = "the journal of several dispatchers, and the chat of gateways";
  };

  # The manifests and their validators: the part of tests/manifests that needs no network.
  project = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../k8s
      ../tests/images
      ../tests/manifests
      ../tests/run
    ];
  };
  validators = pkgs.python3.withPackages (packages: [
    packages.jsonschema
    packages.kubernetes-validate
    packages.pyyaml
  ]);
in
rust.checks
// tests
// {
  # Every binary as shipped.
  build = pkgs.linkFarm "slotkeeper-binaries-${rust.version}" (
    rust.binaries // { slotkeeper-without-demo = rust.dispatcher; }
  );

  # Checks an image: user, entry point, labels, and a closure without shell, compiler or sources.
  images = runCommand "slotkeeper-images-${rust.version}" { nativeBuildInputs = [ jq ]; } ''
    fail() { echo "$name: $*" >&2; exit 1; }
    ${lib.concatMapStrings (image: ''
      name=${image.imageName}:${image.imageTag}
      mkdir image && tar -xzf ${image} -C image
      [ "$(jq -r '.[0].RepoTags[0]' image/manifest.json)" = $name ] || fail "the image has another name"
      config=image/$(jq -r '.[0].Config' image/manifest.json)
      [ "$(jq -r .config.User $config)" = 65532:65532 ] || fail "the user is not 65532"
      [ "$(jq -r '.config.Labels["org.opencontainers.image.version"]' $config)" = ${rust.version} ] || fail "wrong version label"
      [ "$(jq -r '.config.Labels["org.opencontainers.image.revision"] | length' $config)" -ge 7 ] || fail "wrong revision label"
      mkdir root
      for layer in $(jq -r '.[0].Layers[]' image/manifest.json); do
        tar -tf image/$layer >>files
        tar -xf image/$layer -C root
        chmod -R u+w root
      done
      program=$(jq -r '.config.Entrypoint | if length == 1 then .[0] else "more than a program" end' $config)
      [ -x "root$program" ] || fail "entry point $program is missing"
      if grep -qF SLOTKEEPER_PLANT "root$program"; then fail "is built with planted bugs"; fi
      if grep -E '(^|/)(sh|bash|busybox|rustc|cargo|gcc|cc)$|\.rs$' files; then fail "contains a shell, a compiler or sources"; fi
      megabytes=$(($(du -sb root | cut -f1) / 1000000))
      [ $megabytes -lt 60 ] || fail "$megabytes MB, allowed: less than 60"
      echo "$name: $megabytes MB in $(jq '.[0].Layers | length' image/manifest.json) layers, $(wc -l <files) files, runs $program" | tee -a report
      chmod -R u+w image && rm -r image root files
    '') all}
    mv report $out
  '';

  # Every overlay renders and conforms to the schemas; every image that k8s/ names is built here at this version, or on the list of foreign images.
  manifests = runCommand "slotkeeper-manifests-${rust.version}" { nativeBuildInputs = [ pkgs.kubectl ]; } ''
    wrong=0
    cp -r ${project} project && chmod -R u+w project
    k8s=$PWD/project/k8s
    known=" ${lib.concatMapStringsSep " " (i: i.imageName) all} ${toString (lib.attrNames foreign)} "
    ours=" ${lib.concatMapStringsSep " " (i: "${i.imageName}:${i.imageTag}") all} "
    say() { echo "$*" >&2; wrong=1; }
    judge() { # WHERE IMAGE: as a pod would run it
      local image=''${2%@*} name
      name=''${image%:*}
      [[ ''${image##*/} == *:* && $image != *:latest ]] || say "$1: $2 has no tag of its own"
      # A registry in front of the name is allowed.
      [[ $ours == *" ''${image##*/} "* || ("$known" == *" $name "* && "$ours" != *" $name:"*) ]] ||
        say "$1: $2 is neither built by this flake nor on its list of foreign images (nix/checks.nix)"
    }

    status=0
    kubectl version --client || status=$?
    if [ $status = 127 ]; then
      echo "manifests: NOT RENDERED, SINCE THERE IS NO kubectl; only names in the sources are checked" | tee report >&2
    else
      [ $status = 0 ]
      for folder in $k8s/base $k8s/overlays/*; do
        kubectl kustomize $folder >rendered
        for image in $(sed -nE 's/^[ -]*image: //p' rendered | sort -u); do
          judge ''${folder#$k8s/} $image
          echo "''${folder#$k8s/}: $image" | tee -a report
        done
      done
    fi
    # Source files have names without tags; kustomizations add the tags.
    for name in $(grep -rhE '^ *(- )?(image|newName): ' $k8s/base $k8s/components $k8s/overlays --include '*.yaml' | sed 's/.*: //' | sort -u); do
      name=''${name%@*}
      [[ "$known" == *" ''${name##*/} "* || "$known" == *" $name "* ]] || say "k8s/: $name is not known to nix/checks.nix"
    done
    for image in $(sed -nE 's/^ *image: //p' $k8s/kind/cluster.yaml) $(sed -nE 's/^FROM ([^ ]+).*/\1/p' $k8s/kind/Dockerfile); do
      judge kind $image
    done
    grep -qx "version=${rust.version}" $k8s/kind/up || say "k8s/kind/up loads another version than ${rust.version}"
    [ $wrong = 0 ]
    ${
      if pkgs.python3 ? withPackages then
        ''
          mkdir -p into/venv/bin && ln -s ${pkgs.kubectl}/bin/kubectl ${pkgs.shellcheck}/bin/shellcheck into/venv/bin/
          ${validators}/bin/python3 project/tests/manifests/check.py into | tee -a report
        ''
      else
        ''echo "manifests: SCHEMAS NOT CHECKED: the python3 of this package set has no packages" | tee -a report >&2''
    }
    mv report $out
  '';
}
