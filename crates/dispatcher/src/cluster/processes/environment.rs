//! A pod's environment: of the dispatcher's own, it contains only the variables listed here and in the configuration.

use crate::config::template::{Values, variable_matches};
use crate::config::{DataBetween, Processes};
use crate::io::accounts::User;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables that every pod inherits from the dispatcher, in addition to all that begin with `LC_`.
const BASE: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"];
/// The value of `PATH` if the dispatcher has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// With `data = "wipe"`: variables, and the folders in the data folder to which they point.
pub(super) const PRIVATE: &[(&str, &str)] = &[("HOME", "home"), ("TMPDIR", "tmp"), ("XDG_RUNTIME_DIR", "run")];

/// Returns the environment of one start of a pod. `own`: the dispatcher's environment.
pub(super) fn of(
    config: &Processes,
    user: Option<&User>,
    values: &Values<'_>,
    mark: (&str, &str),
    own: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(String, String)> {
    let inherited = |name: &str| {
        BASE.contains(&name)
            || name.starts_with("LC_")
            || config.inherit.iter().any(|pattern| variable_matches(pattern, name))
    };
    let mut all = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    // Variables that are not UTF-8 are left out.
    let own = own.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    all.extend(own.filter(|(name, _)| inherited(name)));
    let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
    if let Some(user) = user {
        set("HOME", user.home.clone());
        set("USER", user.name.clone());
        set("LOGNAME", user.name.clone());
        set("SHELL", user.shell.clone());
    }
    if config.data == DataBetween::Wipe {
        for (name, folder) in PRIVATE {
            set(name, format!("{}/{folder}", values.data));
        }
    }
    set("SLOTKEEPER_POOL", values.pool.to_owned());
    set("SLOTKEEPER_ORDINAL", values.ordinal.to_string());
    set("PORT", values.port.to_string());
    for (name, value) in &config.environment {
        set(name, values.fill(value));
    }
    set(mark.0, mark.1.to_owned());
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(config: &Processes, own: &[(&str, &str)]) -> BTreeMap<String, String> {
        let values = Values { ordinal: 2, port: 9, data: "/data/2", pool: "games", host: "127.0.0.1" };
        let own = own.iter().map(|(name, value)| (name.into(), value.into()));
        of(config, None, &values, ("MARK", "u"), own).into_iter().collect()
    }

    #[test]
    fn a_pod_inherits_only_the_listed_variables() {
        let mut config = Processes::new(vec!["x".into()], "/data".into());
        config.inherit = vec!["CUDA_*".into(), "DISPLAY".into()];
        config.environment = vec![("MARK".into(), "forged".into()), ("WHERE".into(), "{data}".into())];
        let own = [
            ("COOKIE_KEYS", "secret"),
            ("REDIS_PASSWORD", "secret"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("CUDA_VISIBLE_DEVICES", "0"),
            ("DISPLAY", ":0"),
            ("DISPLAY_SECRET", "secret"),
            ("PORT", "1"),
        ];
        let got = environment(&config, &own);
        let names: Vec<&str> = got.keys().map(String::as_str).collect();
        let expected = [
            "CUDA_VISIBLE_DEVICES",
            "DISPLAY",
            "LC_ALL",
            "MARK",
            "PATH",
            "PORT",
            "SLOTKEEPER_ORDINAL",
            "SLOTKEEPER_POOL",
            "WHERE",
        ];
        assert_eq!(names, expected);
        assert_eq!((&*got["PORT"], &*got["MARK"], &*got["WHERE"], &*got["PATH"]), ("9", "u", "/data/2", "/bin"));
        assert_eq!(environment(&config, &[])["PATH"], PATH);
    }

    #[test]
    fn a_programs_home_and_tmp_are_in_the_data_folder_if_it_is_wiped() {
        let mut config = Processes::new(vec!["x".into()], "/data".into());
        config.data = DataBetween::Wipe;
        config.environment = vec![("HOME".into(), "/home/ann".into())];
        let got = environment(&config, &[("HOME", "/root"), ("TMPDIR", "/var/tmp")]);
        assert_eq!((&*got["HOME"], &*got["TMPDIR"]), ("/home/ann", "/data/2/tmp"));
        assert_eq!(got["XDG_RUNTIME_DIR"], "/data/2/run");
    }
}
