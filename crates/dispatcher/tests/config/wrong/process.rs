//! Listeners, the journal, and keys: the settings of the whole process.

use super::Case;

pub(super) const CASES: &[Case] = &[
    (
        "an address without a port",
        r"listen = '0.0.0.0'
{PROCESSES}
",
        &[
            r#"file:1: key `listen`: "0.0.0.0" is not a place to listen; allowed: IP:PORT, such as 0.0.0.0:8080 or [::]:8080, unix:PATH, or systemd:NAME"#,
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
];
