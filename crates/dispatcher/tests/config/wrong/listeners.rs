//! Where visitors connect, and what is logged of their requests.

use super::Case;

pub(super) const CASES: &[Case] = &[
    (
        "options that a listener does not have",
        r"listen = ['127.0.0.1:1 proxi', '127.0.0.1:2 mode=0660', '127.0.0.1:3 only_v6', 'unix:/run/a.sock mode=999', 'systemd:http owner=www']
{PROCESSES}
",
        &[
            "file:1: key `listen[0]`: \"proxi\" is no option of 127.0.0.1:1; allowed: `proxy`; with [::]:PORT `only_v6`; with unix:PATH `mode=0660`, `owner=NAME` and `group=NAME`",
            "file:1: key `listen[1]`: \"mode=0660\" is no option of 127.0.0.1:2; allowed: `proxy`; with [::]:PORT `only_v6`; with unix:PATH `mode=0660`, `owner=NAME` and `group=NAME`",
            "file:1: key `listen[2]`: \"only_v6\" is no option of 127.0.0.1:3; allowed: `proxy`; with [::]:PORT `only_v6`; with unix:PATH `mode=0660`, `owner=NAME` and `group=NAME`",
            "file:1: key `listen[3]`: \"mode=999\" is no option of unix:/run/a.sock; allowed: `proxy`; with [::]:PORT `only_v6`; with unix:PATH `mode=0660`, `owner=NAME` and `group=NAME`",
            "file:1: key `listen[4]`: \"owner=www\" is no option of systemd:http; allowed: `proxy`; with [::]:PORT `only_v6`; with unix:PATH `mode=0660`, `owner=NAME` and `group=NAME`",
        ],
    ),
    (
        "sockets without a usable name",
        r"listen = ['unix:a.sock', 'systemd:']
{PROCESSES}
",
        &[
            "file:1: key `listen[0]`: \"unix:a.sock\" is not the path of a socket; allowed: unix: and an absolute path of at most 90 bytes, such as unix:/run/slotkeeper/http.sock",
            "file:1: key `listen[1]`: \"systemd:\" is not the name of a socket; allowed: systemd: and the FileDescriptorName= of a socket unit",
        ],
    ),
    (
        "a place twice, with other options",
        r"trusted_proxies = '10.0.0.0/8'
listen = ['127.0.0.1:1', 'unix:/run/a.sock', '127.0.0.1:1 proxy', 'unix:/run/a.sock mode=0600']
{PROCESSES}
",
        &[
            "file:2: key `listen[2]`: 127.0.0.1:1 is already used by `listen`; allowed: another address",
            "file:2: key `listen[3]`: unix:/run/a.sock is already used by `listen`; allowed: another address",
        ],
    ),
    (
        "PROXY headers without trusted proxies",
        r"listen = '127.0.0.1:1 proxy'
{PROCESSES}
",
        &[
            "file:1: key `listen`: 127.0.0.1:1 accepts PROXY headers of trusted proxies only, and there are none; allowed: with `trusted_proxies`",
        ],
    ),
    (
        "a field that no proxy writes",
        r"client_address_field = 'x-real-ip'
{PROCESSES}
",
        &[
            "file:1: key `client_address_field`: \"x-real-ip\" is not known; allowed: \"x-forwarded-for\", \"forwarded\"",
        ],
    ),
    (
        "an access log without an output",
        r"{PROCESSES}
[access_log]
format = 'clf'
sample = 0
",
        &[
            "file:4: key `access_log.output`: missing; allowed: \"stdout\", \"off\" or a path",
            "file:5: key `access_log.format`: \"clf\" is not known; allowed: \"json\", \"combined\"",
            "file:6: key `access_log.sample`: 0 is out of range; allowed: a whole number from 1 to 1000000",
        ],
    ),
    (
        "an access log in place of a folder",
        r"{PROCESSES}
[access_log]
output = '/'
",
        &["file:5: key `access_log.output`: / is a folder; allowed: the path of a file"],
    ),
];
