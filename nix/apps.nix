# `nix run .#NAME`.
{
  pkgs,
  rust,
  images,
}:
let
  inherit (pkgs) lib;
  all = lib.attrValues images;
  script =
    name: description: runtimeInputs: text:
    {
      type = "app";
      meta = { inherit description; };
      program = lib.getExe (pkgs.writeShellApplication { inherit name runtimeInputs text; });
    };
  # k8s/ of the same commit as the images, at its path in the project.
  k8s = lib.fileset.toSource {
    root = ../.;
    fileset = ../k8s;
  };
in
{
  demo =
    script "demo" "Five consoles on this machine, none running until somebody comes"
      [ rust.binaries.slotkeeper ]
      ''exec slotkeeper demo "$@"'';

  sim = {
    type = "app";
    meta = { inherit (rust.binaries.slotkeeper-sim.meta) description; };
    program = lib.getExe rust.binaries.slotkeeper-sim;
  };

  # nix run .#kind-up -- [direct | keda-push | keda-prometheus]
  kind-up =
    script "kind-up" "A kind cluster with the images and manifests of this flake; needs docker"
      [
        pkgs.curl
        pkgs.kind
        pkgs.kubectl
      ]
      ''
        SLOTKEEPER_IMAGES=$(mktemp -d)
        export SLOTKEEPER_IMAGES
        trap 'rm -rf "$SLOTKEEPER_IMAGES"' EXIT
        ${lib.concatMapStrings (i: ''
          ${i.stream} >"$SLOTKEEPER_IMAGES/${i.imageName}.tar"
        '') all}
        bash ${k8s}/k8s/kind/up "$@"
      '';

  # nix run .#push -- REGISTRY/PREFIX [OVERLAY]
  push =
    script "push" "Pushes the images, and sets their name, tag and digest in an overlay of this checkout"
      [
        pkgs.python3
        pkgs.skopeo
      ]
      ''
        if [ $# -lt 1 ] || [ $# -gt 2 ]; then
          echo "usage: nix run .#push -- REGISTRY/PREFIX [OVERLAY]    (default: k8s/overlays/gamecube)" >&2
          exit 2
        fi
        to=''${1%/} overlay=''${2:-k8s/overlays/gamecube}
        file=$overlay/kustomization.yaml
        [ -w "$file" ] || { echo "push: $file does not exist or is not writable" >&2; exit 1; }
        folder=$(mktemp -d) changed=
        trap 'rm -rf "$folder"' EXIT
        push() { # STREAM NAME TAG
          "$1" >"$folder/image.tar"
          # SKOPEO_FLAGS: such as --dest-creds or --dest-tls-verify=false.
          # shellcheck disable=SC2086
          skopeo copy --insecure-policy --quiet --digestfile "$folder/digest" ''${SKOPEO_FLAGS:-} \
            "docker-archive:$folder/image.tar" "docker://$to/$2:$3"
          echo "pushed $to/$2:$3@$(cat "$folder/digest")"
          local status=0
          python3 ${./push.py} "$file" "$2" "$to/$2" "$3" "$(cat "$folder/digest")" || status=$?
          case $status in
            0) changed=1 && echo "  set in $file" ;;
            3) echo "  $file has no entry for it under images:" ;;
            *) exit "$status" ;;
          esac
        }
        ${lib.concatMapStrings (i: ''
          push ${i.stream} ${i.imageName} ${i.imageTag}
        '') all}
        [ -n "$changed" ] || { echo "push: nothing to set: $file needs an entry - name: slotkeeper under images:" >&2; exit 1; }
      '';
}
