//! A real Redis with the files that `k8s/` ships for one.

use super::text_of;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Redis in a temporary folder, with the shipped files, except for addresses and paths.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    /// Starts Redis with the configuration, users and start script of this folder of the project.
    pub(crate) fn start(shipped: &str, passwords: &[(&str, &str)]) -> Redis {
        let folder = tempfile::tempdir().unwrap();
        let here = |name: &str| folder.path().join(name).display().to_string();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for name in ["etc", "data", "password", "users", "bin"] {
            std::fs::create_dir(here(name)).unwrap();
        }
        for (name, text) in passwords {
            std::fs::write(folder.path().join("password").join(name), text).unwrap();
        }
        for name in ["start", "redis.conf", "users.acl"] {
            let text = text_of(&format!("{shipped}/{name}"));
            let text = text.replace("/etc/redis", &here("etc")).replace("/run/users", &here("users"));
            let text = text.replace(" /password/", &format!(" {}/", here("password")));
            let text = text.replace("dir /data", &format!("dir {}", here("data")));
            let text = text.replace("port 6379", &format!("bind 127.0.0.1\nport {port}"));
            std::fs::write(folder.path().join("etc").join(name), text).unwrap();
        }
        let server = std::env::var("SLOTKEEPER_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned());
        let valkey = folder.path().join("bin/valkey-server");
        std::fs::write(&valkey, format!("#!/bin/sh\nexec {server} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&valkey, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", here("bin"), std::env::var("PATH").unwrap());
        let mut start = Command::new("sh");
        start.arg(here("etc/start")).env("PATH", path).stdout(Stdio::null());
        Redis { child: start.spawn().unwrap(), port, folder }
    }

    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The file with the password in use, as it is mounted.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.folder.path().join("password/password")
    }

    /// The replies to these lines; `None` while Redis does not listen.
    pub(crate) fn ask(&self, lines: &[&str]) -> Option<Vec<String>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        for line in lines {
            write!(stream, "{line}\r\n").unwrap();
        }
        let answers = BufReader::new(stream).lines().take(lines.len());
        Some(answers.map(|answer| answer.unwrap()).collect())
    }
}
