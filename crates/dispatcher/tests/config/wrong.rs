//! The error messages for invalid files, word for word.

use super::{PROCESSES, problems};
use std::fmt::Write;

/// Name of the case, the file (`{PROCESSES}` stands for the three lines of a valid pool's pods), and all expected messages.
type Case = (&'static str, &'static str, &'static [&'static str]);

#[test]
fn every_problem_is_reported_with_its_line() {
    let mut different = String::new();
    for (name, text, expected) in CASES {
        let said = problems(&text.replace("{PROCESSES}\n", PROCESSES));
        if said != *expected {
            let _ = writeln!(different, "{name}:\n  expected {expected:#?}\n  but found {said:#?}");
        }
    }
    assert!(different.is_empty(), "{different}");
}

const CASES: &[Case] = &[
    ("an empty file", "", &["file:1: key `pools`: missing; a file needs at least one pool: a table [pools.NAME]"]),
    (
        "not TOML",
        r"listen = 
{PROCESSES}
",
        &["file:1: not TOML: string values must be quoted, expected literal string"],
    ),
    (
        "not closed",
        r"[pools.a
",
        &["file:1: not TOML: unclosed table, expected `]`"],
    ),
    (
        "a pool twice",
        r"[pools.a]
title = 'x'
[pools.a]
title = 'y'
{PROCESSES}
",
        &["file:3: key `a`: is set twice; allowed: once", "file:4: key `title`: is set twice; allowed: once"],
    ),
    (
        "a key twice",
        r"[pools.a]
title = 'x'
title = 'y'
{PROCESSES}
",
        &["file:3: key `title`: is set twice; allowed: once"],
    ),
    (
        "an unknown key with a near one",
        r"treads = 2
{PROCESSES}
",
        &["file:1: key `treads`: unknown key; did you mean `threads`?"],
    ),
    (
        "a key without its unit",
        r"[pools.a]
grace = 10
{PROCESSES}
",
        &["file:2: key `pools.a.grace`: unknown key; did you mean `grace_seconds`?"],
    ),
    (
        "an unknown key with none near",
        r"[limits]
colour = 'red'
{PROCESSES}
",
        &[
            "file:2: key `limits.colour`: unknown key; known here: body_bytes, connections, header_bytes, header_fields, header_seconds, idle_seconds, linger_bytes, linger_seconds, new_sessions_per_second, streams_per_session",
        ],
    ),
    (
        "a key of the top in a pool",
        r"[pools.a]
threads = 4
{PROCESSES}
",
        &["file:2: key `pools.a.threads`: unknown key; it belongs to the top of the file, before the first table"],
    ),
    (
        "a key of a pool at the top",
        r"grace_seconds = 4
{PROCESSES}
",
        &["file:1: key `grace_seconds`: unknown key; it belongs to [pools.NAME]"],
    ),
    (
        "an unknown key in a probe",
        r"{PROCESSES}
probe = { interval = 3 }
",
        &[
            "file:4: key `pools.a.processes.probe.interval`: unknown key; known here: every_seconds, failures, kind, path, timeout_seconds",
        ],
    ),
    (
        "a number for a text",
        r"[pools.a]
title = 3
{PROCESSES}
",
        &["file:2: key `pools.a.title`: found the number 3; allowed: text"],
    ),
    (
        "a text for a number",
        r"threads = '4'
{PROCESSES}
",
        &[r#"file:1: key `threads`: found the text "4"; allowed: a whole number from 0 to 1024"#],
    ),
    (
        "a text for seconds",
        r"[pools.a]
grace_seconds = '10'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.grace_seconds`: "10" is not a duration; allowed: seconds from 0 to 604800, or a text such as "90s", "10m" or "1h30m""#,
        ],
    ),
    (
        "a text with units that is out of range",
        r"drain_seconds = '2h'
[pools.a]
answer_seconds = '2d'
stall_seconds = '50ms'
claim_seconds = '-10s'
{PROCESSES}
",
        &[
            r#"file:1: key `drain_seconds`: "2h" is out of range; allowed: seconds from 0 to 3600"#,
            r#"file:3: key `pools.a.answer_seconds`: "2d" is out of range; allowed: seconds from 0.1 to 86400, or "off""#,
            r#"file:4: key `pools.a.stall_seconds`: "50ms" is out of range; allowed: seconds from 0.1 to 86400, or "off""#,
            r#"file:5: key `pools.a.claim_seconds`: "-10s" is out of range; allowed: seconds from 0.1 to 86400"#,
        ],
    ),
    (
        "a text for a clock",
        r"[pools.a]
idle_seconds = 'never'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.idle_seconds`: "never" is not a duration; allowed: seconds from 0.1 to 2592000, or "off", or a text such as "90s", "10m" or "1h30m""#,
        ],
    ),
    (
        "a table for a list",
        r"[pools.a]
hosts = { a = 1 }
{PROCESSES}
",
        &["file:2: key `pools.a.hosts`: found a table; allowed: text or a list of texts"],
    ),
    (
        "a list with a number in it",
        r"[pools.a]
hosts = ['a.example', 5]
{PROCESSES}
",
        &["file:2: key `pools.a.hosts[1]`: found the number 5; allowed: text"],
    ),
    (
        "a value for a table",
        r"limits = 3
{PROCESSES}
",
        &["file:1: key `limits`: found the number 3; allowed: a table"],
    ),
    (
        "a text for true or false",
        r"[pools.a]
sticky_storage = 'yes'
{PROCESSES}
",
        &[r#"file:2: key `pools.a.sticky_storage`: found the text "yes"; allowed: true or false"#],
    ),
    (
        "negative",
        r"[pools.a]
grace_seconds = -5
{PROCESSES}
",
        &["file:2: key `pools.a.grace_seconds`: -5 is out of range; allowed: seconds from 0 to 604800"],
    ),
    (
        "not a number",
        r"[pools.a]
grace_seconds = nan
{PROCESSES}
",
        &["file:2: key `pools.a.grace_seconds`: nan is out of range; allowed: seconds from 0 to 604800"],
    ),
    (
        "too many",
        r"threads = 99999999999999999999
{PROCESSES}
",
        &["file:1: key `threads`: 99999999999999999999 is out of range; allowed: a whole number from 0 to 1024"],
    ),
    (
        "no slots",
        r"[pools.a]
slots_per_pod = 0
{PROCESSES}
",
        &["file:2: key `pools.a.slots_per_pod`: 0 is out of range; allowed: a whole number from 1 to 1000000"],
    ),
    (
        "an unknown choice",
        r"[pools.a]
placement = 'random'
{PROCESSES}
",
        &[r#"file:2: key `pools.a.placement`: "random" is not known; allowed: "pack", "spread""#],
    ),
    (
        "an address without a port",
        r"listen = '0.0.0.0'
{PROCESSES}
",
        &[
            r#"file:1: key `listen`: "0.0.0.0" is not an address to listen on; allowed: IP:PORT, such as 0.0.0.0:8080 or [::]:8080"#,
        ],
    ),
    (
        "an address twice",
        r"listen = ['127.0.0.1:1', '127.0.0.1:1']
{PROCESSES}
",
        &[r#"file:1: key `listen[1]`: "127.0.0.1:1" is in the list twice; allowed: once"#],
    ),
    (
        "no address",
        r"listen = []
{PROCESSES}
",
        &["file:1: key `listen`: the list is empty; allowed: at least one address"],
    ),
    (
        "a network that starts elsewhere",
        r"trusted_proxies = ['10.1.2.3/8']
{PROCESSES}
",
        &[
            r#"file:1: key `trusted_proxies[0]`: "10.1.2.3/8" is not the first address of its network; did you mean 10.0.0.0/8?"#,
        ],
    ),
    (
        "a network with too many bits",
        r"trusted_proxies = ['10.0.0.0/33', 'lan']
{PROCESSES}
",
        &[
            r#"file:1: key `trusted_proxies[0]`: "10.0.0.0/33" is not a network; allowed: such as 10.0.0.0/8, fd00::/8 or 192.0.2.7"#,
            r#"file:1: key `trusted_proxies[1]`: "lan" is not a network; allowed: such as 10.0.0.0/8, fd00::/8 or 192.0.2.7"#,
        ],
    ),
    (
        "an admin listener that other machines can reach",
        r"[admin]
listen = '0.0.0.0:9090'
{PROCESSES}
",
        &[
            "file:2: key `admin.listen`: 0.0.0.0:9090 can be reached from other machines; allowed: with `token_file` or `token_env`, or a loopback address",
        ],
    ),
    (
        "an admin listener on the visitors' address",
        r"listen = '127.0.0.1:9090'
{PROCESSES}
",
        &["file:1: key `admin`: 127.0.0.1:9090 is already used by `listen`; allowed: another address"],
    ),
    (
        "a journal without a location",
        r"[journal]
name = 'a b'
{PROCESSES}
",
        &[
            r#"file:1: key `journal.at`: missing; allowed: "memory", "file:FOLDER", or "redis://[user[:password]@]host[:port][/db]" (rediss:// for TLS)"#,
            r#"file:2: key `journal.name`: "a b" is not a name; allowed: 1 to 63 of the letters a-z and A-Z, digits, -, _, . and :"#,
        ],
    ),
    (
        "a journal on a floppy disk",
        r"[journal]
at = 'A:\'
{PROCESSES}
",
        &[
            r#"file:2: key `journal.at`: "A:\\" is not the location of a journal; allowed: "memory", "file:FOLDER", or "redis://[user[:password]@]host[:port][/db]" (rediss:// for TLS)"#,
        ],
    ),
    (
        "a file journal without a folder",
        r"[journal]
at = 'file:'
name = 'arcade'
ca_file = 'ca.pem'
{PROCESSES}
",
        &[
            r#"file:2: key `journal.at`: there is no folder after "file:"; allowed: "memory", "file:FOLDER", or "redis://[user[:password]@]host[:port][/db]" (rediss:// for TLS)"#,
            r#"file:3: key `journal.name`: there is no Redis to use it for; allowed: with at = "redis://...""#,
            r#"file:4: key `journal.ca_file`: there is no Redis to use it for; allowed: with at = "redis://...""#,
        ],
    ),
    (
        "a shared journal with an invalid address",
        r"[journal]
at = 'redis://slot@redis:70000/'
ca_file = 'ca.pem'
{PROCESSES}
",
        &[
            r#"file:2: key `journal.at`: the address: invalid port number; allowed: redis://[user[:password]@]host[:port][/db], or rediss:// for TLS"#,
            r#"file:3: key `journal.ca_file`: there is no Redis to use it for; allowed: with at = "redis://...""#,
        ],
    ),
    (
        "a shared journal without keys, a password or encryption",
        r"[journal]
at = 'redis://slot@redis/'
ca_file = 'ca.pem'
{PROCESSES}
",
        &[
            "file:2: key `journal.at`: dispatchers that share a journal need the same cookie keys; allowed: with `cookie_keys_file` or `cookie_keys_env` in the configuration",
            "file:2: key `journal.at`: the user: there is no password; allowed: user:password@, :password@ for the default user, or a password from elsewhere",
            "file:3: key `journal.ca_file`: redis:// is not encrypted; allowed: with rediss://",
        ],
    ),
    (
        "a token without an admin listener",
        r"[admin]
listen = 'off'
token_env = 'NO_SUCH_VARIABLE'
{PROCESSES}
",
        &[
            r#"file:2: key `admin.listen`: is "off", so the token has no use; allowed: one of the two"#,
            r#"file:3: key `admin.token_env`: the environment has no variable "NO_SUCH_VARIABLE"; allowed: the name of one"#,
        ],
    ),
    (
        "a missing file of keys",
        r"cookie_keys_file = 'keys'
{PROCESSES}
",
        &[
            "file:1: key `cookie_keys_file`: /etc/slotkeeper/keys cannot be read: No such file or directory (os error 2)",
        ],
    ),
    (
        "keys from a file and from the environment",
        r"cookie_keys_file = 'keys'
cookie_keys_env = 'NO_SUCH_VARIABLE'
{PROCESSES}
",
        &[
            "file:1: key `cookie_keys_file`: /etc/slotkeeper/keys cannot be read: No such file or directory (os error 2)",
            "file:2: key `cookie_keys_env`: contradicts `cookie_keys_file`; allowed: one of the two",
        ],
    ),
    (
        "no pool",
        r"[pools]
",
        &["file:1: key `pools`: missing; a file needs at least one pool: a table [pools.NAME]"],
    ),
    (
        "a pool without pods",
        r"[pools.a]
title = 'x'
",
        &[
            "file:1: key `pools.a`: no pods are configured; allowed: a table [pools.a.kubernetes], [pools.a.processes] or [pools.a.fixed]",
        ],
    ),
    (
        "pods of both kinds",
        r"[pools.a.fixed]
pods = ['h:1', 'h:2']
{PROCESSES}
",
        &["file:3: key `pools.a.processes`: contradicts `fixed`; allowed: one of the two"],
    ),
    (
        "a pool's name",
        r"[pools.'My Pool'.fixed]
pods = ['h:1']
",
        &[
            r#"file:1: key `pools."My Pool"`: "My Pool" is not a pool's name; allowed: 1 to 63 of the letters a-z, 0-9 and -"#,
        ],
    ),
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
        "scaling a fixed list",
        r"[pools.a]
scaling = 'keda-push'
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &[r#"file:2: key `pools.a.scaling`: a fixed list of pods cannot be scaled; allowed: "none" (the default)"#],
    ),
    (
        "another number of pods",
        r"[pools.a]
min_pods = 1
max_pods = 2
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &["file:2: key `pools.a.min_pods`: 1, but the fixed list has 2; allowed: 2, or leave it out"],
    ),
    (
        "recycling a fixed list",
        r"[pools.a]
after_session = 'recycle'
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &[r#"file:2: key `pools.a.after_session`: the pods of a fixed list cannot be restarted; allowed: "keep""#],
    ),
    (
        "spare in a fixed list",
        r"[pools.a]
spare = 1
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &["file:2: key `pools.a.spare`: the pods of a fixed list always run; allowed: for pools that are scaled"],
    ),
    (
        "processes scaled by KEDA",
        r"[pools.a]
scaling = 'prometheus'
settle_seconds = 5
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.scaling`: local processes are started by the dispatcher itself; allowed: "direct" (the default)"#,
        ],
    ),
    (
        "settle_seconds without KEDA",
        r"[pools.a]
settle_seconds = 5
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.settle_seconds`: there is no external scaler; allowed: with `scaling` "keda-push" or "prometheus""#,
        ],
    ),
    (
        "a sliding window of a fixed list",
        r"[pools.a]
window = 'sliding'
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &[
            r#"file:2: key `pools.a.window`: an external scaler cannot slide the window; allowed: "sliding" with `scaling = "direct"`"#,
        ],
    ),
    (
        "recycling a shared pod",
        r"[pools.a]
slots_per_pod = 2
after_session = 'recycle'
{PROCESSES}
",
        &[
            r#"file:3: key `pools.a.after_session`: "recycle" would end the pod under its other sessions; allowed: with `slots_per_pod = 1`"#,
        ],
    ),
    (
        "a minimum above the maximum",
        r"[pools.a]
min_pods = 3
max_pods = 2
{PROCESSES}
",
        &["file:2: key `pools.a.min_pods`: 3 is more than `max_pods`, 2; allowed: at most `max_pods`"],
    ),
    (
        "more spare slots than the pool can have",
        r"[pools.a]
spare = 2
{PROCESSES}
",
        &["file:2: key `pools.a.spare`: 2 is out of range; allowed: a whole number from 0 to 1"],
    ),
    (
        "a percentage",
        r"[pools.a]
spare = '10 percent'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.spare`: "10 percent" is not a percentage; allowed: "0%" to "1000%", or slots from 0 to 1"#,
        ],
    ),
    (
        "a warning that is late",
        r"[pools.a]
idle_seconds = 60
warn_before_seconds = 60
{PROCESSES}
",
        &["file:3: key `pools.a.warn_before_seconds`: 60 is not before the end of `idle_seconds`, 60; allowed: less"],
    ),
    (
        "a session longer than its cookie",
        r"[pools.a]
max_session_seconds = 7200
cookie_max_age_seconds = 3600
{PROCESSES}
",
        &[
            "file:2: key `pools.a.max_session_seconds`: 7200: the cookie would expire after 3600 s, before the session does; allowed: at most as long as `cookie_max_age_seconds`",
        ],
    ),
    (
        "a host with a scheme",
        r"[pools.a]
hosts = ['https://a.example', 'a.*.example']
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.hosts[0]`: "https://a.example" is not a host; allowed: a host without scheme and port, such as play.example, or *.example.com"#,
            r#"file:2: key `pools.a.hosts[1]`: "a.*.example" is not a host; allowed: a host without scheme and port, such as play.example, or *.example.com"#,
        ],
    ),
    (
        "a path without a slash",
        r"[pools.a]
path = 'play'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.path`: "play" is not a path; allowed: such as "/" or "/play", without . and .., % and ?"#,
        ],
    ),
    (
        "a path with dots",
        r"[pools.a]
path = '/play/../x'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.path`: "/play/../x" is not a path; allowed: such as "/" or "/play", without . and .., % and ?"#,
        ],
    ),
    (
        "a reserved path",
        r"[pools.a]
path = '/.slotkeeper/x/'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.path`: "/.slotkeeper/x/" is reserved for Slotkeeper's own pages; allowed: another path"#,
        ],
    ),
    (
        "a title of lines",
        r#"[pools.a]
title = "a\nb"
{PROCESSES}
"#,
        &[r#"file:2: key `pools.a.title`: "a\nb" is not a title; allowed: 1 to 100 characters on one line"#],
    ),
    (
        "a cookie's name",
        r"[pools.a]
cookie_name = 'a b'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.cookie_name`: "a b" is not a cookie's name; allowed: 1 to 64 letters, digits, - and _"#,
        ],
    ),
    (
        "a cookie's prefix",
        r"[pools.a]
cookie_name = '__Http-a'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.cookie_name`: "__Http-a": browsers reserve names that start with __; allowed: other names, or the prefixes __Host- and __Secure-"#,
        ],
    ),
    (
        "connections of an exclusive pool that are shared",
        r"[pools.a]
connections = { share = true, idle_seconds = 0.01 }
{PROCESSES}
",
        &[
            "file:2: key `pools.a.connections.idle_seconds`: 0.01 is out of range; allowed: seconds from 0.1 to 3600, or \"off\"",
            "file:2: key `pools.a.connections.share`: a pod of an exclusive pool never serves two sessions on one connection; allowed: false, or `slots_per_pod` above 1",
        ],
    ),
    (
        "rules of passive requests",
        r"{PROCESSES}
[[pools.a.passive]]
[[pools.a.passive]]
paths = ['api', '/x?y']
methods = 'G T'
user_agents = ''
fetch = ['mode', 'colour=red', 'dest=image']
colour = 'red'
",
        &[
            "file:4: key `pools.a.passive[0].paths`: missing; a rule needs a condition; allowed: `paths`, `methods`, `user_agents`, `fetch`",
            r#"file:6: key `pools.a.passive[1].paths[0]`: "api" is not a path; allowed: such as "/api/status" or "/api/*", without a query"#,
            r#"file:6: key `pools.a.passive[1].paths[1]`: "/x?y" is not a path; allowed: such as "/api/status" or "/api/*", without a query"#,
            r#"file:7: key `pools.a.passive[1].methods`: "G T" is not a method; allowed: such as "GET""#,
            r#"file:8: key `pools.a.passive[1].user_agents`: "" is not a user agent; allowed: such as "kube-probe/*""#,
            r#"file:9: key `pools.a.passive[1].fetch[0]`: "mode" is not known; allowed: "mode=", "dest=", "site=" or "purpose=" and a value, such as "mode=cors""#,
            r#"file:9: key `pools.a.passive[1].fetch[1]`: "colour=red" is not known; allowed: "mode=", "dest=", "site=" or "purpose=" and a value, such as "mode=cors""#,
            "file:10: key `pools.a.passive[1].colour`: unknown key; known here: fetch, methods, paths, user_agents",
        ],
    ),
    (
        "invalid settings of activity",
        r"[pools.a]
rejoin = 'never'
activity = { frame_bytes = ['8-6', '6'], ignored_paths = 'api', busy_limit_seconds = 0 }
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.rejoin`: "never" is not known; allowed: "page", "any""#,
            "file:3: key `pools.a.activity.busy_limit_seconds`: 0 is out of range; allowed: seconds from 1 to 2592000",
            r#"file:3: key `pools.a.activity.frame_bytes[0]`: "8-6" is not a size; allowed: such as "6", "6-8" or "100-""#,
            "file:3: key `pools.a.activity.frame_bytes`: frames are not measured; allowed: with `signals = \"frames\"`",
            r#"file:3: key `pools.a.activity.ignored_paths`: "api" is not a path; allowed: such as "/api/status" or "/api/*", without a query"#,
        ],
    ),
    (
        "an origin with a path",
        r"[pools.a]
allowed_origins = ['https://a.example/x', 'a.example']
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.allowed_origins[0]`: "https://a.example/x" is not an origin; allowed: such as https://app.example without a path, https://*.example.com, null, or *"#,
            r#"file:2: key `pools.a.allowed_origins[1]`: "a.example" is not an origin; allowed: such as https://app.example without a path, https://*.example.com, null, or *"#,
        ],
    ),
    (
        "frames in pages without https, and without a proxy that reports https",
        r"[pools.a]
embedded_in = ['http://portal.example', '*', 'null', 'https://portal.example/lms', 'https://portal.example']
allowed_origins = '*'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.embedded_in[0]`: "http://portal.example" is not an origin with https; allowed: such as https://portal.example without a path, or https://*.example.com"#,
            r#"file:2: key `pools.a.embedded_in[1]`: "*" is not an origin with https; allowed: such as https://portal.example without a path, or https://*.example.com"#,
            r#"file:2: key `pools.a.embedded_in[2]`: "null" is not an origin with https; allowed: such as https://portal.example without a path, or https://*.example.com"#,
            r#"file:2: key `pools.a.embedded_in[3]`: "https://portal.example/lms" is not an origin with https; allowed: such as https://portal.example without a path, or https://*.example.com"#,
            "file:2: key `pools.a.embedded_in`: a cookie for frames needs https, which a trusted proxy has to report, and there are none; allowed: with `trusted_proxies`",
            "file:3: key `pools.a.allowed_origins`: with `embedded_in`, browsers may send the cookie from pages of other sites, and any such page could use the session; allowed: without \"*\" and \"null\"",
        ],
    ),
    (
        "a landing page with TLS",
        r"[pools.a]
landing_url = 'https://a.example/'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.landing_url`: "https://a.example/" is fetched inside of your network, without TLS; allowed: such as http://127.0.0.1:8000/wait"#,
        ],
    ),
    (
        "a landing page that is none",
        r"[pools.a]
landing_url = 'a.example'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.landing_url`: "a.example" is not a URL; allowed: such as http://127.0.0.1:8000/wait"#,
        ],
    ),
    (
        "a metric's name",
        r"[pools.a]
active_sessions_gauge = '3d-sessions'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.active_sessions_gauge`: "3d-sessions" is not a metric's name; allowed: letters, digits, _ and :"#,
        ],
    ),
    (
        "one of our metrics",
        r"[pools.a]
active_sessions_gauge = 'slotkeeper_sessions'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.active_sessions_gauge`: "slotkeeper_sessions" could be one of Slotkeeper's own; allowed: another prefix"#,
        ],
    ),
    (
        "a header's name",
        r"trusted_proxies = ['::1']
[pools.a]
priority_header = 'x class'
{PROCESSES}
",
        &[
            r#"file:3: key `pools.a.priority_header`: "x class" is not the name of a header; allowed: such as x-priority"#,
        ],
    ),
    (
        "a priority header without trusted proxies",
        r"[pools.a]
priority_header = 'x-class'
{PROCESSES}
",
        &[
            "file:2: key `pools.a.priority_header`: is only accepted from trusted proxies, and there are none; allowed: with `trusted_proxies`",
        ],
    ),
    (
        "a time zone",
        r"[pools.a]
time_zone = 'Europe/Bonn'
schedule = [{ spare = 1 }]
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.time_zone`: "Europe/Bonn" is not a time zone; allowed: names such as Europe/Berlin or UTC"#,
        ],
    ),
    (
        "a schedule without a zone",
        r"[pools.a]
schedule = [{ spare = 1 }]
{PROCESSES}
",
        &[
            "file:1: key `pools.a.time_zone`: missing; a schedule needs one; allowed: names such as Europe/Berlin or UTC",
        ],
    ),
    (
        "a zone without a schedule",
        r"[pools.a]
time_zone = 'UTC'
{PROCESSES}
",
        &["file:2: key `pools.a.time_zone`: has no effect alone; allowed: with [[schedule]]"],
    ),
    (
        "a schedule's windows",
        r"[pools.a]
max_pods = 9
time_zone = 'UTC'
{PROCESSES}
[[pools.a.schedule]]
days = ['mon-fry']
from = '8:00'
to = '24:01'
spare = 10
[[pools.a.schedule]]
days = []
from = '08:00'
to = '08:00'
",
        &[
            r#"file:8: key `pools.a.schedule[0].days[0]`: "mon-fry" is not a day; allowed: mon, tue, wed, thu, fri, sat, sun, such as mon-fri, or daily"#,
            r#"file:9: key `pools.a.schedule[0].from`: "8:00" is not a time; allowed: "00:00" to "24:00""#,
            r#"file:10: key `pools.a.schedule[0].to`: "24:01" is not a time; allowed: "00:00" to "24:00""#,
            "file:11: key `pools.a.schedule[0].spare`: 10 is out of range; allowed: a whole number from 0 to 9",
            "file:12: key `pools.a.schedule[1].spare`: missing; allowed: slots, or a percentage in quotes",
            "file:13: key `pools.a.schedule[1].days`: the list is empty; allowed: days, or leave it out for every day",
            "file:15: key `pools.a.schedule[1].to`: 08:00 is also `from`; allowed: another time, or neither for the whole day",
        ],
    ),
    (
        "slots and percentages",
        r"[pools.a]
time_zone = 'UTC'
schedule = [{ spare = 1 }, { spare = '5%' }]
{PROCESSES}
",
        &[
            "file:3: key `pools.a.schedule`: mixes slots and percentages; allowed: one of the two, so that the largest is known where windows overlap",
        ],
    ),
    (
        "a time without quotes",
        r"[pools.a]
time_zone = 'UTC'
schedule = [{ from = 08:00:00, spare = 1 }]
{PROCESSES}
",
        &["file:3: key `pools.a.schedule[0].from`: found a date or time (write it in quotes); allowed: text"],
    ),
    (
        "the same host and path for two pools",
        r"[pools.a]
hosts = ['a.example', 'b.example']
path = '/x'
fixed = { pods = ['h:1'] }
[pools.b]
hosts = ['b.example']
path = '/x/'
fixed = { pods = ['h:2'] }
",
        &[
            "file:7: key `pools.b.path`: b.example with path /x leads to pool `a` already; allowed: another host or path",
        ],
    ),
    (
        "every host to two pools",
        r"[pools.a]

fixed = { pods = ['h:1'] }
[pools.b]

fixed = { pods = ['h:2'] }
",
        &["file:4: key `pools.b.hosts`: any host with path / leads to pool `a` already; allowed: another host or path"],
    ),
    (
        "a cookie for two pools",
        r"[pools.a]
cookie_name = 'x'
fixed = { pods = ['h:1'] }
[pools.b]
cookie_name = 'x'
path = '/b'
fixed = { pods = ['h:2'] }
",
        &[
            "file:5: key `pools.b.cookie_name`: x is the cookie of pool `a` on the same host: they would overwrite each other; allowed: another name",
        ],
    ),
    (
        "a gauge of two pools",
        r"[pools.a]
active_sessions_gauge = 'x'
fixed = { pods = ['h:1'] }
[pools.b]
path = '/b'
active_sessions_gauge = 'x'
fixed = { pods = ['h:2'] }
",
        &["file:6: key `pools.b.active_sessions_gauge`: pool `a` has this gauge already; allowed: another name"],
    ),
    (
        "two pools of processes in one place",
        r"[pools.a]
max_pods = 10
processes = { command = ['a'], data_folder = 'x', first_port = 9000 }
[pools.b]
path = '/b'
processes = { command = ['a'], data_folder = './x', first_port = 9009 }
",
        &[
            "file:6: key `pools.b.processes.data_folder`: pool `a` keeps its data in the same folder; allowed: another folder",
            "file:6: key `pools.b.processes.first_port`: 9009 to 9009 overlap with the ports of pool `a`, 9000 to 9009; allowed: others",
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
        "everything at once",
        r"listen = 5
threads = -1
[pools.a]
path = 'x'
grace_seconds = 'x'
wat = 1
[pools.a.fixed]
pods = ['x']
probe = { failures = 0 }
",
        &[
            "file:1: key `listen`: found the number 5; allowed: text or a list of texts",
            "file:2: key `threads`: -1 is out of range; allowed: a whole number from 0 to 1024",
            r#"file:4: key `pools.a.path`: "x" is not a path; allowed: such as "/" or "/play", without . and .., % and ?"#,
            r#"file:5: key `pools.a.grace_seconds`: "x" is not a duration; allowed: seconds from 0 to 604800, or a text such as "90s", "10m" or "1h30m""#,
            "file:6: key `pools.a.wat`: unknown key; known here: active_sessions_gauge, activity, admission, after_session, allowed_origins, answer_seconds, claim_seconds, connections, cookie_max_age_seconds, cookie_name, cooldown_seconds, embedded_in, extend_limit_seconds, fixed, grace_seconds, half_open_seconds, hold_limit, hold_seconds, hosts, idle_seconds, kubernetes, landing_url, linger_seconds, max_pods, max_session_seconds, min_pods, passive, passive_defaults, path, placement, priority_header, processes, queue_lease_seconds, queue_limit, rejoin, scaling, schedule, settle_seconds, shrink, silence_seconds, slots_per_pod, spare, stall_seconds, sticky_storage, stuck_after_seconds, targets, time_zone, title, warn_before_seconds, window",
            r#"file:8: key `pools.a.fixed.pods[0]`: "x" is not HOST:PORT; allowed: such as 127.0.0.1:9000, [::1]:9000 or pod.example:9000"#,
            "file:9: key `pools.a.fixed.probe.failures`: 0 is out of range; allowed: a whole number from 1 to 1000",
        ],
    ),
    (
        "targets that cannot be",
        r#"[pools.a]
slots_per_pod = 10
window = "sliding"
shrink = "move"
processes = { command = ["a"], data_folder = "a" }
[pools.a.targets]
sessions = 11
messages_per_second = 0
window_seconds = 1
slack_percent = 91
colour = 1
[pools.a.targets.gauge]
name = "slotkeeper_x"
per_pod = 0
path = "metrics"
every_seconds = 0.5
[pools.b]
path = "/b"
shrink = "move"
processes = { command = ["b"], data_folder = "b" }
[pools.c]
path = "/c"
slots_per_pod = 2
sticky_storage = true
shrink = "move"
targets = { window_seconds = 10 }
processes = { command = ["c"], data_folder = "c" }
[pools.d]
path = "/d"
slots_per_pod = 2
shrink = "move"
fixed.pods = ["127.0.0.1:1"]
targets = { gauge = { every_seconds = 20 }, window_seconds = 30 }
[pools.e]
path = "/e"
shrink = "sideways"
processes = { command = ["e"], data_folder = "e" }
"#,
        &[
            "file:4: key `pools.a.shrink`: pods are emptied from the top; allowed: \"move\" with `window = \"fixed\"`",
            "file:6: key `pools.a.targets`: they count pods from 0; allowed: with `window = \"fixed\"`",
            "file:7: key `pools.a.targets.sessions`: 11 is out of range; allowed: a whole number from 1 to 10",
            "file:8: key `pools.a.targets.messages_per_second`: 0 is out of range; allowed: a whole number from 1 to 1000000000",
            "file:9: key `pools.a.targets.window_seconds`: 1 is out of range; allowed: seconds from 5 to 3600",
            "file:10: key `pools.a.targets.slack_percent`: 91 is out of range; allowed: a whole number from 0 to 90",
            "file:11: key `pools.a.targets.colour`: unknown key; known here: gauge, messages_per_second, sessions, slack_percent, window_seconds",
            "file:13: key `pools.a.targets.gauge.name`: \"slotkeeper_x\" could be one of Slotkeeper's own; allowed: another prefix",
            "file:14: key `pools.a.targets.gauge.per_pod`: 0 is out of range; allowed: a number from 0.001 to 1000000000000",
            "file:15: key `pools.a.targets.gauge.path`: \"metrics\" is not a path; allowed: such as \"/metrics\"",
            "file:16: key `pools.a.targets.gauge.every_seconds`: 0.5 is out of range; allowed: seconds from 1 to 600",
            "file:19: key `pools.b.shrink`: the session of an exclusive pod stays there; allowed: \"move\" with `slots_per_pod` above 1",
            "file:25: key `pools.c.shrink`: sessions cannot leave what they have stored; allowed: \"move\" without `sticky_storage`",
            "file:26: key `pools.c.targets.window_seconds`: nothing is measured; allowed: with `messages_per_second` or `gauge`",
            "file:26: key `pools.c.targets`: no target in it; allowed: `sessions`, `messages_per_second`, `gauge`, one or more of them",
            "file:33: key `pools.d.targets.gauge.every_seconds`: 20 is too long for a window of 30 s; allowed: at most half of it",
            "file:33: key `pools.d.targets.gauge.name`: missing; allowed: the name of a gauge that pods have, such as \"websocket_capacity_ratio\"",
            "file:33: key `pools.d.targets.gauge.per_pod`: missing; allowed: the target value per pod, from 0.001 to 1000000000000",
            "file:33: key `pools.d.targets`: this pool is not scaled; allowed: for pools that are scaled",
            "file:36: key `pools.e.shrink`: \"sideways\" is not known; allowed: \"wait\", \"move\"",
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
