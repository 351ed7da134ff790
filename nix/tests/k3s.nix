# The manifests on a real Kubernetes: a one-node k3s in a virtual machine, with the images of this flake. The dispatcher scales by
# itself, consoles need no GPU; curl acts as a visitor, and the pool's size is 0, 1, 0. It is the only test with a real API
# server, real RBAC and a real kubelet.
{ pkgs, images }:
let
  inherit (pkgs) lib;
  root = ../..;
  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      (root + "/k8s")
      ./k3s
    ];
  };

  # Short clocks, and the built-in waiting room: the landing page's image is not available here.
  manifests = pkgs.runCommand "slotkeeper-k3s.yaml" { nativeBuildInputs = [ pkgs.kubectl ]; } ''
    cp -r ${src} project && chmod -R u+w project && cd project
    substituteInPlace k8s/overlays/gamecube/kustomization.yaml --replace-fail '  - ../../components/keda-push' '  - ../../components/direct'
    substituteInPlace k8s/overlays/kind/kustomization.yaml --replace-fail '  - library-nfs' '  - library-node'
    substituteInPlace k8s/components/direct/slotkeeper.toml \
      --replace-fail 'cooldown_seconds = 300' 'cooldown_seconds = 20' \
      --replace-fail 'landing_url = "http://gamecube-landing-page/"' ""
    kubectl kustomize nix/tests/k3s >$out
  '';
in
{
  name = "slotkeeper-k3s";

  nodes.machine =
    { config, pkgs, ... }:
    {
      virtualisation = {
        cores = 2;
        memorySize = 3072;
        diskSize = 6144;
      };
      environment.systemPackages = [
        pkgs.curl
        pkgs.kubectl
      ];
      environment.sessionVariables.KUBECONFIG = "/etc/rancher/k3s/k3s.yaml";
      # Pods reach the API server at the node's own address.
      networking.firewall.enable = false;
      services.k3s = {
        enable = true;
        role = "server";
        # The node name that the volumes of k8s/overlays/kind use.
        nodeName = "slotkeeper-control-plane";
        disable = [
          "local-storage"
          "metrics-server"
          "servicelb"
          "traefik"
        ];
        images = [ config.services.k3s.package.airgap-images ] ++ builtins.attrValues images;
      };
      # As in k8s/kind/up; the console runs as 65532.
      systemd.tmpfiles.rules =
        builtins.genList (n: "d /srv/gamecube/config-${toString n} 0750 65532 65532 -") 5
        ++ [
          "d /srv/gamecube/library 0755 - - -"
          "C /srv/gamecube/library/keys.ch8 0444 - - - ${src}/k8s/overlays/kind/library-nfs/keys.ch8"
        ];
    };

  testScript = ''
    kubectl = "kubectl --namespace gamecube"
    pool = "--selector app.kubernetes.io/name=gamecube --no-headers"


    def replicas():
        return machine.succeed(f"{kubectl} get statefulset gamecube -o jsonpath={{.spec.replicas}}").strip()


    def falls_asleep():
        count = f"$({kubectl} get statefulset gamecube -o jsonpath={{.spec.replicas}})"
        machine.wait_until_succeeds(f'[ "{count}" = 0 ]', timeout=300)
        machine.wait_until_succeeds(f'[ -z "$({kubectl} get pods {pool})" ]', timeout=120)


    def visit(jar):
        return f"curl -sS --max-time 10 --cookie {jar} --cookie-jar {jar} -H 'Accept: text/html' {url}/"


    with subtest("the node is ready and has the images"):
        machine.wait_for_unit("k3s")
        machine.wait_until_succeeds("kubectl wait --for=condition=Ready node/slotkeeper-control-plane --timeout=1s", timeout=180)
        for image in ["slotkeeper", "slotkeeper-console"]:
            machine.wait_until_succeeds(f"k3s ctr images ls -q | grep -F /{image}:", timeout=120)

    with subtest("the manifests are taken, and the dispatcher gets ready"):
        machine.succeed("kubectl apply --server-side -f ${src}/k8s/overlays/gamecube/namespace.yaml")
        for secret in ["cookie-keys", "admin-token"]:
            machine.succeed(
                "head -c 32 /dev/urandom | base64 | tr -d '\\n' | "
                f"{kubectl} create secret generic slotkeeper-{secret} --from-file={secret}=/dev/stdin"
            )
        machine.succeed("kubectl apply --server-side -f ${manifests}")
        machine.wait_until_succeeds(f"{kubectl} rollout status deployment/slotkeeper --timeout=1s", timeout=180)
        address = machine.succeed(f"{kubectl} get service slotkeeper -o jsonpath={{.spec.clusterIP}}").strip()
        url = f"http://{address}"
        machine.wait_until_succeeds(f"curl -fsS {url}/.slotkeeper/health", timeout=60)

    with subtest("it has the rights it needs, and no other"):
        can = f"{kubectl} auth can-i --as system:serviceaccount:gamecube:slotkeeper"
        machine.succeed(f"{can} patch statefulsets/gamecube")
        machine.succeed(f"{can} delete pods")
        machine.fail(f"{can} patch statefulsets/another")
        machine.fail(f"{can} get secrets")

    with subtest("the pool falls asleep: 0"):
        # The first pod starts without a visitor: a StatefulSet's default.
        falls_asleep()

    with subtest("who brings no cookie back wakes nothing"):
        machine.succeed(f"curl -sS -H 'Accept: text/html' --output /dev/null {url}/")
        machine.sleep(5)
        assert replicas() == "0", "somebody without a cookie woke a pod"

    with subtest("a visitor plays: 1"):
        page = machine.succeed(visit("/tmp/ana"))
        assert "<canvas" not in page, "a console without a pod"
        machine.succeed("grep -F GC_SESSION_ID /tmp/ana")
        machine.wait_until_succeeds(f"{visit('/tmp/ana')} | grep -F '<canvas'", timeout=180)
        assert replicas() == "1", replicas()
        # 101, then frames of a game; curl ends it after two seconds (--max-time).
        status = machine.execute(
            "curl -sS --http1.1 --no-buffer --max-time 2 --cookie /tmp/ana --output /tmp/frames --write-out '%{http_code}' "
            "-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
            f"-H 'Sec-WebSocket-Key: c2xvdGtlZXBlcnRyaWVzIQ==' {url}/play"
        )[1]
        assert "101" in status, status
        machine.succeed("[ -s /tmp/frames ]")

    with subtest("she leaves: 0"):
        falls_asleep()

    # A violated guarantee is logged as ERROR.
    log = machine.succeed(f"{kubectl} logs deployment/slotkeeper")
    assert '"level":"ERROR"' not in log, log
  '';
}
