//! Compares an answer with the recorded one. Everything must be equal, except for uids and versions (each recorded one
//! always stands for the same one of ours), times (up to two seconds), addresses, nodes, managedFields, and the mounted
//! token. The status may have more fields than the recorded simulator wrote.

use std::collections::BTreeMap;

use serde_json::Value;
use slotkeeper_apiserver::milliseconds;

/// Maps recorded uids and versions to ours.
#[derive(Default)]
pub(crate) struct Names {
    uids: BTreeMap<String, String>,
    versions: BTreeMap<String, String>,
}

impl Names {
    /// Replaces the known uids and versions in a recorded text by ours.
    pub(crate) fn translate(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            out.push_str(self.uids.get(word).or_else(|| self.versions.get(word)).map_or(word, String::as_str));
            // An escape in a path is not part of the following word.
            let next = if tail.starts_with('%') { 3 } else { tail.chars().next().map_or(0, char::len_utf8) };
            out.push_str(&tail[..next]);
            rest = &tail[next..];
        }
        out
    }

    fn same(known: &mut BTreeMap<String, String>, recorded: &str, ours: &str, at: &str) -> Result<(), String> {
        let known = known.entry(recorded.to_owned()).or_insert_with(|| ours.to_owned());
        if known == ours { Ok(()) } else { Err(format!("{at}: {recorded} was {known} before and is {ours} now")) }
    }
}

/// Reports the first difference.
pub(crate) fn compare(recorded: &Value, ours: &Value, names: &mut Names) -> Result<(), String> {
    let list = recorded["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    walk("", recorded, ours, names, list)
}

fn walk(at: &str, recorded: &Value, ours: &Value, names: &mut Names, list: bool) -> Result<(), String> {
    let key = at.rsplit('.').next().unwrap_or(at);
    match (recorded, ours) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left.iter().filter(|(key, value)| !ignored(at, key, value)) {
                let ours = right.get(key).ok_or_else(|| format!("{at}.{key}: {value} is missing"))?;
                walk(&format!("{at}.{key}"), value, ours, names, list)?;
            }
            let more = at.contains(".status");
            match right.iter().find(|(key, value)| !more && !left.contains_key(*key) && !ignored(at, key, value)) {
                Some((key, value)) => Err(format!("{at}.{key}: {value} is too much")),
                None => Ok(()),
            }
        }
        (Value::Array(left), Value::Array(right)) if key == "conditions" => {
            for condition in left {
                let at = format!("{at}[{}]", condition["type"]);
                let ours =
                    right.iter().find(|ours| ours["type"] == condition["type"]).ok_or(format!("{at}: missing"))?;
                walk(&at, condition, ours, names, list)?;
            }
            Ok(())
        }
        (Value::Array(left), Value::Array(right)) => {
            let mounted =
                |value: &&Value| !value["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
            let (left, right): (Vec<_>, Vec<_>) =
                (left.iter().filter(mounted).collect(), right.iter().filter(mounted).collect());
            if left.len() != right.len() {
                return Err(format!("{at}: {} recorded, {} of ours", left.len(), right.len()));
            }
            let pairs = left.into_iter().zip(right).enumerate();
            pairs.into_iter().try_for_each(|(n, (left, right))| walk(&format!("{at}[{n}]"), left, right, names, list))
        }
        (Value::String(left), Value::String(right)) => {
            if ["nodeName", "podIP", "hostIP", "ip"].contains(&key) || left == right {
                return Ok(());
            }
            if key == "resourceVersion" && list && at == ".metadata.resourceVersion" {
                names.versions.insert(left.clone(), right.clone());
                return Ok(());
            }
            if key == "resourceVersion" {
                return Names::same(&mut names.versions, left, right, at);
            }
            if key == "uid" {
                return Names::same(&mut names.uids, left, right, at);
            }
            // An event is named after its object and the time.
            let event = |name: &str| name.rsplit_once('.').map(|(object, _)| object.to_owned());
            if key == "name" && event(left).is_some() && event(left) == event(right) {
                return Ok(());
            }
            if let (Some(left), Some(right)) = (milliseconds(left), milliseconds(right))
                && left.abs_diff(right) <= 2000
            {
                return Ok(());
            }
            let translated = names.translate(left);
            if translated == *right || (key == "message" && masked(&translated) == masked(right)) {
                return Ok(());
            }
            Err(format!("{at}:\n  recorded {translated}\n  ours     {right}"))
        }
        _ if recorded == ours => Ok(()),
        _ => Err(format!("{at}: recorded {recorded}, ours {ours}")),
    }
}

fn ignored(at: &str, key: &str, value: &Value) -> bool {
    let token_only = |value: &Value| {
        let token = |v: &Value| v["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
        value.as_array().is_some_and(|list| list.iter().all(token))
    };
    match key {
        "managedFields" | "imageID" => true,
        "volumes" | "volumeMounts" => token_only(value),
        "observedGeneration" => at.contains(".conditions"),
        _ => false,
    }
}

/// Masks uids and numbers of at least four digits: a message may have some that are not mapped yet.
fn masked(text: &str) -> String {
    let word = |word: &str| {
        let number = word.len() >= 4 && word.chars().all(|c| c.is_ascii_digit());
        let uid = word.len() == 36 && word.matches('-').count() == 4;
        if number || uid { "#".to_owned() } else { word.to_owned() }
    };
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).map(word).collect::<Vec<_>>().join(" ")
}
