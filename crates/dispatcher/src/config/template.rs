//! Fills in the configured arguments and environment of local processes: replaces `{ordinal}`, `{port}`, `{data}`, `{pool}` and
//! `{host}` with a pod's own values.

/// The names that are replaced.
pub(crate) const NAMES: [&str; 5] = ["ordinal", "port", "host", "data", "pool"];

/// Returns the first name in braces that looks like one of [`NAMES`] but is not. (`${name}` belongs to a shell.)
pub(crate) fn unknown(template: &str) -> Option<&str> {
    template.match_indices('{').find_map(|(at, _)| {
        let name = template[at + 1..].split_once('}')?.0;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        (is_name && !NAMES.contains(&name) && !template[..at].ends_with('$')).then_some(name)
    })
}

/// Matches a name against a pattern: a name, or a prefix and `*`.
pub(crate) fn variable_matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
}

/// The values of one start of one pod.
pub(crate) struct Values<'a> {
    pub(crate) ordinal: u32,
    pub(crate) port: u16,
    pub(crate) data: &'a str,
    pub(crate) pool: &'a str,
    pub(crate) host: &'a str,
}

impl Values<'_> {
    /// Replaces in one pass: names inside replaced values stay. Unknown names stay, too (programs have their own braces).
    pub(crate) fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            filled.push_str(&rest[..open]);
            rest = &rest[open..];
            let named = rest.find('}').and_then(|close| Some((self.value(&rest[1..close])?, close)));
            match named {
                Some((value, close)) => {
                    filled.push_str(&value);
                    rest = &rest[close + 1..];
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "ordinal" => self.ordinal.to_string(),
            "port" => self.port.to_string(),
            "data" => self.data.to_owned(),
            "pool" => self.pool.to_owned(),
            "host" => self.host.to_owned(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_once_and_other_braces_stay() {
        let values = Values { ordinal: 3, port: 9003, data: "/data/{port}", pool: "games", host: "127.0.0.1" };
        assert_eq!(values.fill("{host}:{port}"), "127.0.0.1:9003");
        assert_eq!(values.fill("--data={data}/x"), "--data=/data/{port}/x");
        assert_eq!(values.fill("{{ordinal}} {\"a\": {pool}} {unknown} {"), "{3} {\"a\": games} {unknown} {");
    }
}
