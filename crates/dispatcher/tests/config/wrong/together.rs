//! Conflicts between two pools.

use super::Case;

pub(super) const CASES: &[Case] = &[
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
];
