//! `[[pools.NAME.passive]]`: rules for requests that do not use the pool.

use super::PoolConfig;
use super::setting::{Access, Kind, Row, Setting, field, read_all};
use super::table::{Table, Value, quoted};
use crate::config::request_rules::{Field, Passive, Pattern};
use http::Method;

pub(super) const ROWS: &[Row<Passive>] = &[
    Row::new("paths", Kind::OneOrList("path with `*` for anything"), field!(Passive, paths = [pattern], "any"))
        .help(
            "the path without its query",
            ". A rule applies if all of its conditions hold; a list holds if one of its values does; a rule has \
             at least one condition",
        )
        .default("any"),
    Row::new("methods", Kind::OneOrList("method"), field!(Passive, methods = [method], "any"))
        .help("the method of the request", "")
        .default("any"),
    Row::new(
        "user_agents",
        Kind::OneOrList("text with `*` for anything"),
        field!(Passive, user_agents = [user_agent], "any"),
    )
    .help("the field `User-Agent`, regardless of case", "")
    .default("any"),
    Row::new("fetch", Kind::OneOrList("field and value"), Access { read: fetches, ..Access::NONE })
        .help(
            "`Sec-Fetch-Mode`, `Sec-Fetch-Dest`, `Sec-Fetch-Site`, `Sec-Purpose`, which browsers send over TLS \
             and to `localhost`",
            "",
        )
        .default("any")
        .range("`\"mode=VALUE\"`, `\"dest=VALUE\"`, `\"site=VALUE\"`, `\"purpose=VALUE\"`, or a list"),
];

pub(super) fn passive(pool: &Table<'_>, config: &mut PoolConfig) {
    let items = pool.value("passive").and_then(|value| value.items("a list of tables, [[pools.NAME.passive]]"));
    if pool.value("passive_defaults").and_then(|value| value.bool()) == Some(false) {
        config.passive.clear();
    }
    config.passive.extend(items.unwrap_or_default().iter().filter_map(Value::table).map(|table| rule(&table)));
}

fn rule(table: &Table<'_>) -> Passive {
    let mut rule = Passive::default();
    read_all(ROWS, table, &mut rule);
    if !["paths", "methods", "user_agents", "fetch"].into_iter().any(|key| table.has(key) && !table.has_empty_list(key))
    {
        table.missing("paths", "a rule needs a condition; allowed: `paths`, `methods`, `user_agents`, `fetch`");
    }
    table.finish();
    rule
}

fn method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.as_bytes())
        .map_err(|_| format!("{} is not a method; allowed: such as \"GET\"", quoted(text)))
}

fn user_agent(text: &str) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("\"\" is not a user agent; allowed: such as \"kube-probe/*\"".to_owned());
    }
    Ok(Pattern::new(text.to_lowercase()))
}

fn fetches(setting: &Setting, table: &Table<'_>, rule: &mut Passive) {
    for (text, at) in table.one_or_list(setting.key).unwrap_or_default() {
        rule.fetch.extend(at.accept(fetch(text)));
    }
}

/// A path, in which `*` matches anything.
pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    if !text.starts_with(['/', '*']) || text.contains(['?', '#']) {
        let allowed = "such as \"/api/status\" or \"/api/*\", without a query";
        return Err(format!("{} is not a path; allowed: {allowed}", quoted(text)));
    }
    Ok(Pattern::new(text))
}

fn fetch(text: &str) -> Result<(Field, String), String> {
    let known = text.split_once('=').and_then(|(name, value)| {
        let (_, field) = Field::ALL.into_iter().find(|(known, _)| *known == name)?;
        (!value.is_empty()).then(|| (field, value.to_owned()))
    });
    known.ok_or_else(|| {
        format!(
            "{} is not known; allowed: \"mode=\", \"dest=\", \"site=\" or \"purpose=\" and a value, such as \"mode=cors\"",
            quoted(text)
        )
    })
}
