# The container images: one binary each and its linked libraries, an unprivileged user, no shell.
{
  pkgs,
  build,
  rust,
}:
let
  inherit (pkgs) lib dockerTools;

  # 20261121160949 -> 2026-11-21T16:09:49Z: the time of the commit, not of the build.
  created =
    let
      at = from: length: builtins.substring from length build.created;
    in
    "${at 0 4}-${at 4 2}-${at 6 2}T${at 8 2}:${at 10 2}:${at 12 2}Z";

  # No image has CA certificates: the dispatcher opens TLS connections only to the API server, whose CA Kubernetes mounts, and to Redis (`journal.ca_file`).
  image =
    {
      name,
      package,
      ports,
    }:
    dockerTools.buildLayeredImage {
      inherit name created;
      tag = rust.version;
      config = {
        Entrypoint = [ (lib.getExe package) ];
        User = "65532:65532";
        ExposedPorts = lib.genAttrs (map (port: "${toString port}/tcp") ports) (_: { });
        Labels = {
          "org.opencontainers.image.title" = name;
          "org.opencontainers.image.description" = package.meta.description;
          "org.opencontainers.image.version" = rust.version;
          "org.opencontainers.image.revision" = build.revision;
          "org.opencontainers.image.created" = created;
          "org.opencontainers.image.licenses" = rust.license;
        };
      };
    };
in
# The names used by the manifests.
{
  dispatcher-image = image {
    name = "slotkeeper";
    package = rust.dispatcher;
    ports = [
      8080
      9090
      9091
    ];
  };
  console-image = image {
    name = "slotkeeper-console";
    package = rust.binaries.slotkeeper-console;
    ports = [ 3000 ];
  };
  gateway-image = image {
    name = "slotkeeper-gateway";
    package = rust.binaries.slotkeeper-gateway;
    ports = [
      3000
      9100
    ];
  };
}
