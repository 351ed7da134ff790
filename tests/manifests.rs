//! Compares `k8s/` with the built binaries: settings, arguments, ports, paths and rights exist there, and the objects fit
//! together. `manifests/check` validates the schemas, and renders the objects that are read here.

mod gateways;
pub(crate) mod objects;
pub(crate) mod redis;

use objects::{Case, cases, check};
use redis::Redis;
use serde_json::{Value, json};
use slotkeeper_tests::dispatcher::binary;
use slotkeeper_tests::{Pod, Setup, Visitor, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The rights of the dispatcher and their reasons: the same table as in `k8s/README.md`.
const RIGHTS: [(&str, &str, &str, &str); 6] = [
    ("pods", "get list watch", "always", "which pods there are"),
    ("pods", "patch", "always", "annotations of busy pods"),
    ("pods", "delete", "always", "recycling, by uid"),
    ("statefulsets", "get list watch", "always", "what the cluster has been told"),
    ("events", "list watch", "always", "why a pod does not start"),
    ("statefulsets", "patch", "direct", "replicas and ordinals"),
];
const KEDA_RIGHTS: [(&str, &str); 2] = [("scaledobjects", "get patch"), ("horizontalpodautoscalers", "get")];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the project")
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(project().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The GameCube system in all its combinations: neither the bare base nor the gateways.
fn systems() -> impl Iterator<Item = &'static Case> {
    cases().iter().filter(|case| case.name != "base" && !case.name.starts_with("websocket-gateway"))
}

/// Checks the configuration of this case with the binary, with its secrets in another folder, and returns the output.
fn is_accepted(case: &Case) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cookie-keys"), "A".repeat(43) + "=").unwrap();
    std::fs::write(folder.path().join("admin-token"), "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::write(folder.path().join("password"), "any").unwrap();
    let file = folder.path().join("slotkeeper.toml");
    let here = format!("\"{}/", folder.path().display());
    let text = case.configuration().replace("\"/secrets/", &here).replace("\"/redis/", &here);
    std::fs::write(&file, text).unwrap();
    let output = Command::new(binary("slotkeeper")).args(["check", "--config"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}: {}", case.name, said(&output));
    said(&output)
}

#[test]
fn every_combination_renders_and_every_object_is_valid() {
    let output = check();
    assert!(output.status.success(), "{}", said(output));
    assert!(cases().len() >= 49, "only {} combinations", cases().len());
}

/// `docs/openapi.json` is what the dispatcher serves (a test of `crates/api`).
#[test]
fn the_openapi_document_is_valid() {
    let output = objects::tool("openapi-spec-validator").arg(project().join("docs/openapi.json")).output().unwrap();
    assert!(output.status.success() && said(&output).contains("OK"), "{}", said(&output));
}

#[test]
fn every_configuration_is_accepted_by_the_binary() {
    let mut seen = BTreeSet::new();
    for case in systems() {
        if seen.insert(case.configuration()) {
            let said = is_accepted(case);
            assert!(said.contains("gamecube"), "{said}");
        }
    }
    assert_eq!(seen.len(), 6, "one for each way to scale, with each journal");
}

#[test]
fn the_ways_to_scale_differ_in_scaling_only() {
    let without_scaling = |mode: &str| {
        let text = text_of(&format!("k8s/components/{mode}/slotkeeper.toml"));
        let mut inside = false;
        let kept = text.lines().skip(1).filter(|line| {
            let mark = line.starts_with("# ---");
            inside = if mark { line.ends_with("--- scaling") } else { inside };
            !inside && !mark && !line.is_empty()
        });
        kept.map(str::to_owned).collect::<Vec<_>>()
    };
    let push = without_scaling("keda-push");
    assert!(push.iter().any(|line| line.starts_with("landing_url")) && !push.iter().any(|l| l.contains("keda")));
    assert_eq!(push, without_scaling("direct"));
    assert_eq!(push, without_scaling("keda-prometheus"));
}

#[test]
fn arguments_are_accepted_by_the_binaries() {
    let mut asked = BTreeSet::new();
    for case in cases() {
        for (_, container) in case.containers() {
            let image = container["image"].as_str().unwrap();
            let name = image.split(':').next().unwrap();
            if !name.starts_with("slotkeeper") || !asked.insert(format!("{name} {}", container["args"])) {
                continue;
            }
            assert_eq!(container["command"], Value::Null, "{name}: the image's entry point is the binary");
            let arguments: Vec<&str> = container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            // The parser reports an unknown argument before it handles --help.
            let output = Command::new(binary(name)).args(&arguments).arg("--help").output().unwrap();
            assert!(output.status.success(), "{name} {arguments:?}: {}", said(&output));
            let nonsense = Command::new(binary(name)).args(&arguments).args(["--nonsense", "--help"]).output().unwrap();
            assert!(!nonsense.status.success(), "{name} takes anything, so this shows nothing");
        }
    }
    assert_eq!(asked.len(), 3, "dispatcher, console and gateway: {asked:?}");
}

#[tokio::test]
async fn probes_use_paths_that_exist() {
    let pod = Pod::named("pod").await;
    let case = systems().next().unwrap();
    let container = &case.one("Deployment", "slotkeeper")["spec"]["template"]["spec"]["containers"][0];
    let dispatcher = Setup::fixed(&[&pod], "").start().await;
    for probe in ["readinessProbe", "livenessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        assert_eq!(container[probe]["httpGet"]["port"], "admin");
        let answer = dispatcher.admin_get(path).await;
        assert_eq!(answer.status(), 200, "{probe} {path}");
    }
    // The path that `k8s/kind/up` and `try` use.
    assert_eq!(Visitor::of(&dispatcher).get("/.slotkeeper/health").await.status(), 200);
    for case in cases().iter().filter(|case| case.name.starts_with("kind")) {
        let console = &case.one("StatefulSet", "gamecube")["spec"]["template"]["spec"]["containers"][0];
        // The end-to-end tests use this path of real consoles.
        assert_eq!(console["readinessProbe"]["httpGet"]["path"], "/readyz");
    }
}

#[test]
fn the_environment_of_the_manifest_is_read() {
    let case = systems().next().unwrap();
    let container = &case.one("Deployment", "slotkeeper")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"], json!([{"name": "SLOTKEEPER_LOG", "value": "json"}]), "not known to this test");
    let mut serve = Command::new(binary("slotkeeper"));
    serve.args(["serve", "--pods", "127.0.0.1:9", "--listen", "127.0.0.1:0", "--journal", "memory"]);
    serve.env("SLOTKEEPER_LOG", "json");
    let mut child = serve.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(serde_json::from_str::<Value>(&line).is_ok_and(|value| value.is_object()), "{line}");
}

#[test]
fn ports_are_where_the_configuration_listens() {
    for case in systems() {
        let config: toml::Table = case.configuration().parse().unwrap();
        let port =
            |address: &toml::Value| address.as_str().unwrap().rsplit(':').next().unwrap().parse::<u16>().unwrap();
        let mut wanted = BTreeMap::from([
            ("http".to_owned(), port(&config["listen"])),
            ("admin".to_owned(), port(&config["admin"]["listen"])),
        ]);
        if let Some(keda) = config.get("keda") {
            wanted.insert("keda".into(), port(&keda["listen"]));
        }
        let dispatcher = case.one("Deployment", "slotkeeper");
        assert_eq!(case.ports_of(&dispatcher["spec"]["template"]), wanted, "{}", case.name);
        let console = case.one("StatefulSet", "gamecube");
        let there = case.ports_of(&console["spec"]["template"]);
        assert_eq!(config["pools"]["gamecube"]["kubernetes"]["port"].as_integer(), Some(i64::from(there["http"])));
    }
}

#[test]
fn services_and_policies_refer_to_existing_ports() {
    for case in cases().iter().filter(|case| case.name != "base") {
        for service in case.all("Service") {
            let name = service["metadata"]["name"].as_str().unwrap();
            let behind = case.ports_behind(service);
            for port in service["spec"]["ports"].as_array().unwrap() {
                let target = port["targetPort"].as_str().unwrap_or_else(|| panic!("{name}: targets are named"));
                assert!(behind.contains_key(target), "{}: {name} leads to {target}, of {behind:?}", case.name);
            }
        }
        for policy in case.all("NetworkPolicy") {
            let name = policy["metadata"]["name"].as_str().unwrap();
            let behind =
                case.ports_selected(&policy["metadata"]["namespace"], &policy["spec"]["podSelector"]["matchLabels"]);
            assert!(!behind.is_empty(), "{}: {name} selects no pod", case.name);
            for rule in policy["spec"]["ingress"].as_array().unwrap() {
                for port in rule["ports"].as_array().unwrap() {
                    let number = u16::try_from(port["port"].as_u64().unwrap()).unwrap();
                    assert!(behind.values().any(|p| *p == number), "{}: {name} opens {number}", case.name);
                }
            }
        }
    }
}

#[test]
fn the_dispatcher_has_the_rights_it_needs_and_no_other() {
    for case in systems() {
        let keda = !case.name.contains("direct");
        let mut wanted = BTreeSet::new();
        for (resource, verbs, when, _) in RIGHTS {
            if when == "always" || !keda {
                wanted.extend(verbs.split(' ').map(|verb| format!("{resource} {verb}")));
            }
        }
        if keda {
            for (resource, verbs) in KEDA_RIGHTS {
                wanted.extend(verbs.split(' ').map(|verb| format!("{resource} {verb}")));
            }
        }
        let role = case.one("Role", "slotkeeper");
        let mut granted = BTreeSet::new();
        for rule in role["rules"].as_array().unwrap() {
            let list = |key: &str| -> Vec<String> {
                let texts = rule[key].as_array().unwrap_or_else(|| panic!("a rule without {key}"));
                texts.iter().map(|t| t.as_str().unwrap().to_owned()).collect()
            };
            for (resource, verb) in
                list("resources").iter().flat_map(|r| list("verbs").into_iter().map(move |v| (r.clone(), v)))
            {
                let group = match resource.as_str() {
                    "pods" | "events" => "",
                    "statefulsets" => "apps",
                    "scaledobjects" => "keda.sh",
                    "horizontalpodautoscalers" => "autoscaling",
                    other => panic!("{other} is not in the table of rights"),
                };
                assert_eq!(list("apiGroups"), [group], "{resource}");
                // Rights that can be limited to one name are limited to it.
                let one = match resource.as_str() {
                    // As KEDA names it.
                    "horizontalpodautoscalers" => json!(["keda-hpa-gamecube"]),
                    "scaledobjects" => json!(["gamecube"]),
                    other if verb == "patch" && other != "pods" => json!(["gamecube"]),
                    _ => Value::Null,
                };
                assert_eq!(rule["resourceNames"], one, "{verb} {resource}");
                assert!(granted.insert(format!("{resource} {verb}")), "{verb} {resource} twice");
            }
        }
        assert_eq!(granted, wanted, "{}", case.name);
        assert_eq!(case.all("ClusterRole").count() + case.all("ClusterRoleBinding").count(), 0);
        let binding = case.one("RoleBinding", "slotkeeper");
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "name": "slotkeeper", "namespace": "gamecube"}])
        );
        assert_eq!(binding["roleRef"]["name"], "slotkeeper");
    }
    let readme = text_of("k8s/README.md");
    for (resource, verbs, ..) in RIGHTS {
        let row = format!("| {} | {resource} |", verbs.replace(' ', ", "));
        assert!(readme.contains(&row), "README.md has no row {row}");
    }
    for (resource, verbs) in KEDA_RIGHTS {
        let row = format!("| {} | {resource} |", verbs.replace(' ', ", "));
        assert!(readme.contains(&row), "README.md has no row {row}");
    }
}

#[test]
fn only_the_dispatcher_has_a_token_and_no_container_may_gain_privileges() {
    for case in cases() {
        for (pod, container) in case.containers() {
            let what = format!("{}: {}", case.name, container["name"]);
            let dispatcher = container["name"] == "slotkeeper";
            assert_eq!(pod["automountServiceAccountToken"], dispatcher, "{what}");
            if container["image"].as_str().unwrap().contains("volume/nfs") {
                continue;
            }
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{what}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{what}");
            if container["image"].as_str().unwrap().contains("linuxserver/") {
                continue;
            }
            assert_eq!(context["readOnlyRootFilesystem"], true, "{what}");
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{what}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{what}");
        }
        assert_eq!(case.all("Secret").count(), 0, "{}: secrets are made, not shipped", case.name);
    }
}

#[test]
fn images_are_of_this_project_and_version_or_public_and_pinned() {
    let targets = text_of("k8s/kind/Dockerfile");
    for case in cases() {
        for (_, container) in case.containers() {
            let image = container["image"].as_str().unwrap();
            let (name, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
            assert!(tag != "latest" && !tag.contains('/'), "{image} is not pinned");
            if !name.contains('/') {
                assert_eq!(tag, env!("CARGO_PKG_VERSION"), "{image}");
                assert!(targets.contains(&format!(" AS {name}\n")), "{name} is not built by k8s/kind/Dockerfile");
            }
        }
    }
    let up = text_of("k8s/kind/up");
    assert!(up.contains(concat!("version=", env!("CARGO_PKG_VERSION"), "\n")), "k8s/kind/up builds another version");
}

#[test]
fn applying_the_manifests_again_leaves_replicas_and_volumes_alone() {
    for case in systems() {
        let set = &case.one("StatefulSet", "gamecube")["spec"];
        assert_eq!((&set["replicas"], &set["ordinals"]), (&Value::Null, &Value::Null), "they belong to the scaler");
        assert_eq!(
            (&set["podManagementPolicy"], &set["updateStrategy"]["type"]),
            (&json!("Parallel"), &json!("OnDelete"))
        );
        assert_eq!(
            set["persistentVolumeClaimRetentionPolicy"],
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
        );
        // Fixed at creation: a label that changes with the version would make every upgrade fail.
        assert_eq!(set["volumeClaimTemplates"][0]["metadata"], json!({"name": "config"}));
        let config: toml::Table = case.configuration().parse().unwrap();
        let pool = &config["pools"]["gamecube"];
        for ordinal in 0..pool["max_pods"].as_integer().unwrap() {
            let volume = &case.one("PersistentVolume", &format!("config-{ordinal}"))["spec"];
            assert_eq!(volume["claimRef"]["name"], format!("config-gamecube-{ordinal}"));
            assert_eq!(volume["claimRef"]["namespace"], "gamecube");
            assert_eq!(volume["persistentVolumeReclaimPolicy"], "Retain");
            assert_eq!(volume["storageClassName"], set["volumeClaimTemplates"][0]["spec"]["storageClassName"]);
            assert!(volume["nodeAffinity"]["required"].is_object());
        }
        let claim = &case.one("PersistentVolumeClaim", "gamecube-library")["spec"];
        let library = &case.one("PersistentVolume", claim["volumeName"].as_str().unwrap())["spec"];
        assert_eq!(
            (&claim["accessModes"], &library["accessModes"]),
            (&json!(["ReadOnlyMany"]), &json!(["ReadOnlyMany"]))
        );
    }
}

#[test]
fn mounted_volumes_exist() {
    for case in cases().iter().filter(|case| case.name != "base") {
        for (pod, _) in case.containers() {
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                if let Some(name) = volume["configMap"]["name"].as_str() {
                    case.one("ConfigMap", name);
                }
                if let Some(name) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                    case.one("PersistentVolumeClaim", name);
                }
                let projected = volume["projected"]["sources"].as_array().into_iter().flatten();
                let secrets = projected.map(|s| &s["secret"]["name"]).chain([&volume["secret"]["secretName"]]);
                for name in secrets.filter_map(Value::as_str) {
                    let readme = text_of("k8s/README.md");
                    assert!(
                        readme.contains(&format!("create secret generic {name}")),
                        "README.md does not show how to create {name}"
                    );
                }
            }
        }
    }
    for case in systems().chain(gateways::behind_the_dispatcher()) {
        let spec = &case.one("Deployment", "slotkeeper")["spec"]["template"]["spec"];
        let config: toml::Table = case.configuration().parse().unwrap();
        let grace = spec["terminationGracePeriodSeconds"].as_i64().unwrap();
        let wait = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64().unwrap_or_default();
        assert!(grace > wait + config["drain_seconds"].as_integer().unwrap(), "killed before it has drained");
        let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
        let arguments = spec["containers"][0]["args"].as_array().unwrap();
        let files =
            [config["cookie_keys_file"].as_str(), config["admin"]["token_file"].as_str(), arguments[2].as_str()];
        let password = config["journal"].get("password_file").map(|file| file.as_str());
        for path in files.into_iter().chain(password) {
            let path = Path::new(path.unwrap());
            let mounted = mounts.iter().any(|m| Path::new(m["mountPath"].as_str().unwrap()) == path.parent().unwrap());
            assert!(mounted, "{} is not in a volume", path.display());
        }
        let Some(pool) = config["pools"].get("gamecube") else { continue };
        let landing = pool["landing_url"].as_str().unwrap();
        let host = landing.trim_start_matches("http://").trim_end_matches('/');
        assert_eq!(case.one("Service", host)["spec"]["ports"][0]["port"], 80);
    }
}

/// The dispatcher's mount and volume for a journal in a folder.
fn journal_folder(case: &Case) -> Option<(&Value, &Value)> {
    let pod = &case.one("Deployment", "slotkeeper")["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["mountPath"] == "/var/lib/slotkeeper")?;
    let volumes = pod["volumes"].as_array().unwrap();
    Some((mount, volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap()))
}

#[test]
fn a_folder_has_one_dispatcher_and_redis_several() {
    let journals =
        |case: &Case| case.all("PersistentVolumeClaim").any(|c| c["metadata"]["name"] == "slotkeeper-journal");
    let (mut one, mut several) = (0, 0);
    for case in systems() {
        let config: toml::Table = case.configuration().parse().unwrap();
        let at = config["journal"]["at"].as_str().unwrap();
        let spec = &case.one("Deployment", "slotkeeper")["spec"];
        let budget = &case.one("PodDisruptionBudget", "slotkeeper")["spec"]["maxUnavailable"];
        if let Some(folder) = at.strip_prefix("file:") {
            one += 1;
            let (mount, volume) = journal_folder(case).unwrap();
            assert_eq!((&mount["mountPath"], &mount["readOnly"]), (&json!(folder), &Value::Null), "{}", case.name);
            let claim = case.one("PersistentVolumeClaim", "slotkeeper-journal");
            assert_eq!(volume["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);
            assert_eq!(volume["emptyDir"], Value::Null, "two kinds of volume in one");
            assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]));
            assert_eq!((&spec["replicas"], &spec["strategy"]), (&json!(1), &json!({"type": "Recreate"})));
            assert_eq!(budget, 0);
            // Connected sessions have time left after a restart, however long that took.
            let pool = &config["pools"]["gamecube"];
            let seconds = |table: &toml::Value, key: &str| table[key].as_integer().unwrap();
            let gone = config["drain_seconds"].as_integer().unwrap() + seconds(pool, "silence_seconds") / 2;
            assert!(seconds(pool, "grace_seconds") >= gone + 3, "{}: {gone} s of the grace are over", case.name);
            continue;
        }
        several += 1;
        assert!(case.name.contains("redis") && journal_folder(case).is_none() && !journals(case), "{}", case.name);
        assert!(spec["replicas"].as_u64().unwrap() > 1);
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
        );
        assert_eq!(budget, 1);
        let spread = spec["template"]["spec"]["topologySpreadConstraints"].as_array().unwrap();
        for constraint in spread {
            assert_eq!(constraint["labelSelector"], spec["selector"], "spread over other pods");
        }

        let redis = case.one("StatefulSet", "slotkeeper-redis");
        let service = case.one("Service", "slotkeeper-redis");
        let port = &service["spec"]["ports"][0]["port"];
        assert_eq!(at, format!("redis://{}:{port}", service["metadata"]["name"].as_str().unwrap()));
        assert_eq!((&redis["spec"]["replicas"], &service["spec"]["clusterIP"]), (&json!(1), &Value::Null));
        assert_eq!(case.one("PodDisruptionBudget", "slotkeeper-redis")["spec"]["maxUnavailable"], 0);
        let policy = &case.one("NetworkPolicy", "slotkeeper-redis")["spec"];
        assert_eq!(policy["egress"], json!([]));
        let peers: Vec<&Value> = policy["ingress"].as_array().unwrap().iter().map(|rule| &rule["from"]).collect();
        assert_eq!(peers, [&json!([{"podSelector": spec["selector"]}])], "others than dispatchers reach Redis");
        // The file in the dispatcher is a key of the secret, and all keys of that secret are passwords to Redis.
        let secret = |pod: &Value| {
            let volumes = pod["spec"]["template"]["spec"]["volumes"].as_array().unwrap().clone();
            volumes.into_iter().find_map(|v| v["secret"].as_object().cloned()).unwrap()
        };
        let (theirs, its) = (secret(case.one("Deployment", "slotkeeper")), secret(redis));
        assert_eq!((&theirs["secretName"], its.get("items")), (&its["secretName"], None));
        assert_eq!(theirs["items"], json!([{"key": "password", "path": "password"}]));
        assert!(config["journal"]["password_file"].as_str().unwrap().ends_with("/password"));
        if config.contains_key("keda") {
            assert_eq!(case.one("Service", "slotkeeper-keda")["spec"]["clusterIP"], "None");
        }
        let limit =
            redis["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"].as_str().unwrap();
        let limit: u64 = limit.strip_suffix("Mi").unwrap().parse().unwrap();
        let conf = text_of("k8s/components/journal-redis/redis.conf");
        let at_most = conf.lines().find_map(|line| line.strip_prefix("maxmemory ")?.strip_suffix("mb")).unwrap();
        assert!(limit >= 2 * at_most.parse::<u64>().unwrap(), "a rewrite of its file could end it");
    }
    assert!(one >= 30 && several >= 12, "{one}, {several}");
    let base = cases().iter().find(|case| case.name == "base").unwrap();
    assert!(journal_folder(base).unwrap().1["emptyDir"].is_object() && !journals(base));
}

#[tokio::test]
async fn the_shipped_redis_stores_a_journal_and_allows_nothing_else() {
    let redis =
        Redis::start("k8s/components/journal-redis", &[("password", "the new one\n"), ("former", "the-old-one")]);
    eventually("Redis to answer", async || redis.ask(&["PING"]).is_some()).await;
    let refused = |answers: &[String]| answers.iter().all(|answer| answer.starts_with("-NO"));
    assert!(refused(&redis.ask(&["PING", "GET {slotkeeper}:life"]).unwrap()), "without a password");
    let probed = redis.ask(&["AUTH probe any", "PING", "GET {slotkeeper}:life"]).unwrap();
    assert!(probed[..2] == ["+OK", "+PONG"] && refused(&probed[2..]), "{probed:?}");
    let known =
        redis.ask(&["AUTH the-old-one", "GET {slotkeeper}:life", "GET another", "FLUSHALL", "CONFIG GET *"]).unwrap();
    assert!(known[..2] == ["+OK", "$-1"] && refused(&known[2..]), "{known:?}");
    assert!(redis.ask(&["AUTH wrong"]).unwrap()[0].starts_with("-WRONGPASS"));

    let pod = Pod::named("pod").await;
    let password = redis.password_file();
    let dispatcher = Setup::fixed(&[&pod], "silence_seconds = 2\ngrace_seconds = 0.5")
        .env("KEYS", &("A".repeat(43) + "="))
        .top("cookie_keys_env = \"KEYS\"")
        .top(&format!("[journal]\nat = \"{}\"\npassword_file = {password:?}", redis.address()))
        .start()
        .await;
    // The first start on an empty Redis is a lapse. After it a session is placed.
    assert!(dispatcher.metrics().await.0.contains("slotkeeper_journal_lapses_total 1"));
    Visitor::of(&dispatcher).wait_for_slot().await;
    drop(dispatcher);

    // The rights for checkpoints, too: the same rights as OPERATING.md lists, except for other databases.
    let rights = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.contains(key)).unwrap().to_owned();
        line.split_once(" resetkeys ").unwrap().1.split(' ').filter(|r| *r != "+select").map(str::to_owned).collect()
    };
    let granted: BTreeSet<String> =
        rights(&text_of("k8s/components/journal-redis/users.acl"), "user default on PASSWORDS");
    assert_eq!(granted, rights(&text_of("crates/dispatcher/OPERATING.md"), "ACL SETUSER slotkeeper on "));
}

#[test]
fn keda_has_the_same_limits_and_addresses_as_the_dispatcher() {
    let mut seen = 0;
    for case in systems().filter(|case| !case.name.contains("direct")) {
        seen += 1;
        let spec = &case.one("ScaledObject", "gamecube")["spec"];
        let config: toml::Table = case.configuration().parse().unwrap();
        let pool = &config["pools"]["gamecube"];
        let seconds = |key: &str| pool[key].as_integer().unwrap();
        assert_eq!(spec["scaleTargetRef"]["name"].as_str(), pool["kubernetes"]["stateful_set"].as_str());
        assert_eq!(pool["kubernetes"]["scaled_object"].as_str(), Some("gamecube"));
        assert_eq!(pool["kubernetes"]["keda_guard"].as_bool(), Some(true));
        assert_eq!(spec["maxReplicaCount"].as_i64(), pool["max_pods"].as_integer());
        assert_eq!((&spec["minReplicaCount"], &spec["idleReplicaCount"]), (&json!(0), &Value::Null));
        // The dispatcher gives up its pods before KEDA removes them.
        let scrape = if case.name.contains("prometheus") { 15 } else { 0 };
        let given_up = seconds("cooldown_seconds")
            + seconds("settle_seconds")
            + spec["pollingInterval"].as_i64().unwrap()
            + scrape;
        assert!(
            spec["cooldownPeriod"].as_i64().unwrap() > given_up,
            "{}: KEDA is quicker than {given_up} s",
            case.name
        );
        assert!(spec["initialCooldownPeriod"].as_i64().unwrap() >= 60);
        assert_eq!(spec["fallback"]["behavior"], "currentReplicasIfHigher");
        assert!(spec["fallback"]["replicas"].as_i64().unwrap() > 0, "an outage would end sessions");
        let advanced = &spec["advanced"];
        assert_eq!(advanced["restoreToOriginalReplicaCount"], false);
        let behavior = &advanced["horizontalPodAutoscalerConfig"]["behavior"];
        assert_eq!(behavior["scaleUp"]["tolerance"], "0");
        assert!(
            behavior["scaleUp"]["policies"][0]["value"].as_i64() >= spec["maxReplicaCount"].as_i64(),
            "not in one step"
        );
        assert!(behavior["scaleDown"]["stabilizationWindowSeconds"].as_i64().unwrap() >= 300);
        let triggers = spec["triggers"].as_array().unwrap();
        let [trigger] = triggers.as_slice() else { panic!("one trigger, not {}", triggers.len()) };
        assert_eq!(trigger["metricType"], "AverageValue");
        let metadata = &trigger["metadata"];
        if pool["scaling"].as_str() == Some("keda-push") {
            assert_eq!(trigger["type"], "external-push");
            assert_eq!(metadata["pool"], "gamecube");
            let service = case.one("Service", "slotkeeper-keda");
            let port = &service["spec"]["ports"][0]["port"];
            assert_eq!(metadata["scalerAddress"], format!("slotkeeper-keda.gamecube.svc.cluster.local:{port}"));
        } else {
            assert_eq!((&trigger["type"], pool["scaling"].as_str()), (&json!("prometheus"), Some("prometheus")));
            assert_eq!((&metadata["ignoreNullValues"], &metadata["threshold"]), (&json!("false"), &json!("1")));
            let query = metadata["query"].as_str().unwrap();
            assert!(
                query.starts_with("max(") && query.contains("slotkeeper_pods{") && query.contains("pool=\"gamecube\"")
            );
        }
    }
    assert!(seen >= 20, "{seen}");
}
