//! How pods are defined: local processes, fixed lists, Kubernetes, probes, and their limits.

use super::Case;

pub(super) const CASES: &[Case] = &[
    (
        "no command",
        r"[pools.a.processes]
data_folder = 'data'
",
        &[
            "file:1: key `pools.a.processes.command`: missing; allowed: a list, the program first, each argument by itself",
        ],
    ),
    (
        "no program",
        r"[pools.a.processes]
command = []
data_folder = 'data'
",
        &[
            "file:2: key `pools.a.processes.command`: there is no program in it; allowed: a list, the program first, each argument by itself",
        ],
    ),
    (
        "a command line",
        r"[pools.a.processes]
command = 'run --fast'
data_folder = 'data'
",
        &[r#"file:2: key `pools.a.processes.command`: found the text "run --fast"; allowed: a list of texts"#],
    ),
    (
        "no data folder",
        r"[pools.a.processes]
command = ['run']
",
        &[
            "file:1: key `pools.a.processes.data_folder`: missing; allowed: a folder; each pod gets one in it, named by its ordinal",
        ],
    ),
    (
        "a host name to listen on",
        r"{PROCESSES}
host = 'localhost'
",
        &[
            r#"file:4: key `pools.a.processes.host`: "localhost" is not an IP address; allowed: such as 127.0.0.1 or ::1"#,
        ],
    ),
    (
        "ports that run out",
        r"[pools.a]
max_pods = 100
{PROCESSES}
first_port = 65500
",
        &[
            "file:6: key `pools.a.processes.first_port`: with 100 pods the last port would be 65599; allowed: at most 65535",
        ],
    ),
    (
        "a limit below the first delay",
        r"{PROCESSES}
restart_backoff_seconds = 10
restart_backoff_limit_seconds = 5
",
        &[
            "file:5: key `pools.a.processes.restart_backoff_limit_seconds`: 5 is less than `restart_backoff_seconds`, 10; allowed: as much or more",
        ],
    ),
    (
        "an environment of numbers",
        r"{PROCESSES}
environment = { DEPTH = 3, 'A=B' = 'x' }
",
        &[
            r#"file:4: key `pools.a.processes.environment."A=B"`: "A=B" is not the name of an environment variable; allowed: no = in it"#,
            "file:4: key `pools.a.processes.environment.DEPTH`: found the number 3; allowed: text",
        ],
    ),
    (
        "an HTTP probe without a path",
        r"{PROCESSES}
probe = { kind = 'http' }
",
        &[r#"file:4: key `pools.a.processes.probe.path`: missing; allowed: the path to request, such as "/readyz""#],
    ),
    (
        "a TCP probe with a path",
        r"{PROCESSES}
probe = { kind = 'tcp', path = '/x' }
",
        &[
            r#"file:4: key `pools.a.processes.probe.path`: a probe of kind "tcp" has no path; allowed: with kind "http""#,
        ],
    ),
    (
        "a probe's path",
        r"{PROCESSES}
probe = { path = 'readyz' }
",
        &[r#"file:4: key `pools.a.processes.probe.path`: "readyz" is not a path; allowed: such as "/readyz""#],
    ),
    (
        "no pods",
        r"[pools.a.fixed]
pods = []
",
        &["file:2: key `pools.a.fixed.pods`: the list is empty; allowed: at least one HOST:PORT"],
    ),
    (
        "pods in a text",
        r"[pools.a.fixed]
pods = 'h:1'
",
        &[r#"file:2: key `pools.a.fixed.pods`: found the text "h:1"; allowed: a list of texts"#],
    ),
    (
        "lists of numbers only",
        r"listen = [1]
[pools.a.fixed]
pods = [2]
[pools.b]
path = '/b'
processes = { command = [3], data_folder = 'x' }
",
        &[
            "file:1: key `listen[0]`: found the number 1; allowed: text",
            "file:3: key `pools.a.fixed.pods[0]`: found the number 2; allowed: text",
            "file:6: key `pools.b.processes.command[0]`: found the number 3; allowed: text",
        ],
    ),
    (
        "pods that are no addresses",
        r"[pools.a.fixed]
pods = ['h', 'h:0', 'h:1', 'h:1', 'http://h:1']
",
        &[
            r#"file:2: key `pools.a.fixed.pods[0]`: "h" is not HOST:PORT; allowed: such as 127.0.0.1:9000, [::1]:9000 or pod.example:9000"#,
            r#"file:2: key `pools.a.fixed.pods[1]`: "h:0" is not HOST:PORT; allowed: such as 127.0.0.1:9000, [::1]:9000 or pod.example:9000"#,
            r#"file:2: key `pools.a.fixed.pods[3]`: "h:1" is in the list twice; allowed: once"#,
            r#"file:2: key `pools.a.fixed.pods[4]`: "http://h:1" is not HOST:PORT; allowed: such as 127.0.0.1:9000, [::1]:9000 or pod.example:9000"#,
        ],
    ),
    (
        "pods of two kinds",
        r"[pools.a]
kubernetes = { stateful_set = 'a', port = 80 }
fixed = { pods = ['h:1'] }
",
        &["file:2: key `pools.a.kubernetes`: contradicts `fixed`; allowed: one of the two"],
    ),
    (
        "a workload without a name or a port",
        r"[pools.a.kubernetes]
namespace = 'x'
",
        &[
            "file:1: key `pools.a.kubernetes.port`: missing; allowed: the container port the pods listen on, 1 to 65535",
            "file:1: key `pools.a.kubernetes.stateful_set`: missing; allowed: the name of a StatefulSet (or `deployment`, of a Deployment)",
        ],
    ),
    (
        "names that Kubernetes does not allow",
        r"[pools.a.kubernetes]
stateful_set = 'A_b'
namespace = 'x.y'
port = 70000
",
        &[
            r#"file:2: key `pools.a.kubernetes.stateful_set`: "A_b" is not a name; allowed: letters a-z, digits, - and ., such as gamecube"#,
            r#"file:3: key `pools.a.kubernetes.namespace`: "x.y" is not a namespace; allowed: 1 to 63 letters a-z, digits and -, such as games"#,
            "file:4: key `pools.a.kubernetes.port`: 70000 is out of range; allowed: a whole number from 1 to 65535",
        ],
    ),
    (
        "two workloads",
        r"[pools.a.kubernetes]
stateful_set = 'a'
deployment = 'b'
port = 80
",
        &["file:3: key `pools.a.kubernetes.deployment`: contradicts `stateful_set`; allowed: one of the two"],
    ),
    (
        "a guard without an object, and without KEDA",
        r"[pools.a.kubernetes]
stateful_set = 'a'
port = 80
keda_guard = true
give_up_seconds = 0.5
",
        &[
            r#"file:4: key `pools.a.kubernetes.keda_guard`: keeps KEDA from scaling in; allowed: with `scaling` "keda-push" or "prometheus""#,
            "file:4: key `pools.a.kubernetes.keda_guard`: there is no ScaledObject to annotate; allowed: with `scaled_object`",
            r#"file:5: key `pools.a.kubernetes.give_up_seconds`: 0.5 is out of range; allowed: seconds from 1 to 3600, or "off""#,
        ],
    ),
    (
        "a Deployment that slides and recycles",
        r"[pools.a]
window = 'sliding'
after_session = 'recycle'
[pools.a.kubernetes]
deployment = 'a'
port = 80
",
        &[
            r#"file:2: key `pools.a.window`: the pods of a Deployment have no ordinals to slide over; allowed: "fixed""#,
            r#"file:3: key `pools.a.after_session`: the successor of a Deployment's pod is another pod; allowed: "keep", or a StatefulSet"#,
        ],
    ),
    (
        "limits, environment and user of a pod",
        r#"cookie_keys_env = "NO_SUCH_VARIABLE"
{PROCESSES}
inherit = ["NO_SUCH_VARIABLE", "NO_*", "A=B", "GOOD"]
data = "burn"
user = ""
group = -1
limits = { memory_bytes = 5, cpus = 0, files = 1, processes = 0, colour = 3 }
cgroup = "on"
on_restart = "stop"
adopt_within_seconds = 5
restart_unready_seconds = 0.5
log_lines_per_second = 0
"#,
        &[
            r#"file:1: key `cookie_keys_env`: the environment has no variable "NO_SUCH_VARIABLE"; allowed: the name of one"#,
            "file:5: key `pools.a.processes.inherit[0]`: NO_SUCH_VARIABLE is a secret of the dispatcher; allowed: other variables",
            "file:5: key `pools.a.processes.inherit[1]`: NO_SUCH_VARIABLE is a secret of the dispatcher; allowed: other variables",
            r#"file:5: key `pools.a.processes.inherit[2]`: "A=B" is not the name of an environment variable; allowed: a name, or the beginning of names and a star"#,
            r#"file:6: key `pools.a.processes.data`: "burn" is not known; allowed: "keep", "wipe""#,
            r#"file:7: key `pools.a.processes.user`: "" is not a name; allowed: a name or a number"#,
            "file:8: key `pools.a.processes.group`: -1 is out of range; allowed: a whole number from 0 to 4294967294",
            "file:9: key `pools.a.processes.limits.colour`: unknown key; known here: cpus, files, memory_bytes, processes",
            "file:9: key `pools.a.processes.limits.cpus`: 0 is out of range; allowed: a number from 0.01 to 4096",
            "file:9: key `pools.a.processes.limits.files`: 1 is out of range; allowed: a whole number from 16 to 1073741824",
            "file:9: key `pools.a.processes.limits.memory_bytes`: 5 is out of range; allowed: a whole number from 1048576 to 1125899906842624",
            "file:9: key `pools.a.processes.limits.processes`: 0 is out of range; allowed: a whole number from 1 to 4194304",
            r#"file:10: key `pools.a.processes.cgroup`: "on" is not known; allowed: "auto", "off""#,
            "file:12: key `pools.a.processes.adopt_within_seconds`: pods end with the dispatcher; allowed: with `on_restart = \"adopt\"`",
            r#"file:13: key `pools.a.processes.restart_unready_seconds`: 0.5 is out of range; allowed: seconds from 1 to 86400, or "off""#,
            "file:14: key `pools.a.processes.log_lines_per_second`: 0 is out of range; allowed: a whole number from 1 to 1000000",
        ],
    ),
];
