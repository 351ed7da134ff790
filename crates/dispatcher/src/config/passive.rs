//! Which requests do not use a pool, and what counts as activity: `[[pools.NAME.passive]]`, `rejoin`, `[pools.NAME.activity]`.

use super::table::{Table, Value, quoted};
use super::{Activity, PoolConfig, Signals, Sizes};
use crate::config::request_rules::{Field, Passive, Pattern, Rejoin};
use http::Method;

pub(super) fn passive(pool: &Table<'_>, config: &mut PoolConfig) {
    let items = pool.value("passive").and_then(|value| value.items("a list of tables, [[pools.NAME.passive]]"));
    if !pool.bool("passive_defaults", true) {
        config.passive.clear();
    }
    config.passive.extend(items.unwrap_or_default().iter().filter_map(Value::table).map(|table| rule(&table)));
    config.rejoin =
        pool.choice("rejoin", Rejoin::usual(config.admission), &[("page", Rejoin::Page), ("any", Rejoin::Any)]);
}

fn rule(table: &Table<'_>) -> Passive {
    let mut rule = Passive { paths: patterns(table, "paths"), ..Passive::default() };
    for (text, at) in table.one_or_list("methods").unwrap_or_default() {
        let what = || format!("{} is not a method; allowed: such as \"GET\"", quoted(text));
        rule.methods.extend(at.accept(Method::from_bytes(text.as_bytes()).map_err(|_| what())));
    }
    for (text, at) in table.one_or_list("user_agents").unwrap_or_default() {
        if text.is_empty() {
            at.wrong("\"\" is not a user agent; allowed: such as \"kube-probe/*\"");
        }
        rule.user_agents.push(Pattern(text.to_lowercase()));
    }
    for (text, at) in table.one_or_list("fetch").unwrap_or_default() {
        rule.fetch.extend(at.accept(fetch(text)));
    }
    if !["paths", "methods", "user_agents", "fetch"].into_iter().any(|key| table.has(key) && !table.has_empty_list(key))
    {
        table.missing("paths", "a rule needs a condition; allowed: `paths`, `methods`, `user_agents`, `fetch`");
    }
    table.finish();
    rule
}

/// Paths, in which `*` matches anything.
fn patterns(table: &Table<'_>, key: &'static str) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for (text, at) in table.one_or_list(key).unwrap_or_default() {
        if !text.starts_with(['/', '*']) || text.contains(['?', '#']) {
            at.wrong(format_args!(
                "{} is not a path; allowed: such as \"/api/status\" or \"/api/*\", without a query",
                quoted(text)
            ));
        }
        patterns.push(Pattern(text.to_owned()));
    }
    patterns
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

pub(super) fn activity(pool: &Table<'_>) -> Activity {
    let default = Activity::default();
    let Some(table) = pool.table("activity") else { return default };
    let signals = table.choice(
        "signals",
        default.signals,
        &[("any", Signals::Any), ("frames", Signals::Frames), ("reported", Signals::Reported)],
    );
    let activity = Activity {
        signals,
        frame_bytes: sizes(&table).unwrap_or(default.frame_bytes),
        ignored_paths: patterns(&table, "ignored_paths"),
        busy_limit: table.seconds("busy_limit_seconds", default.busy_limit, 1.0..=MONTH),
    };
    if signals != Signals::Frames && table.has("frame_bytes") {
        table.wrong("frame_bytes", "frames are not measured; allowed: with `signals = \"frames\"`");
    }
    table.finish();
    activity
}

fn sizes(table: &Table<'_>) -> Option<Vec<Sizes>> {
    let listed = table.one_or_list("frame_bytes")?;
    if table.has_empty_list("frame_bytes") {
        table.wrong("frame_bytes", "no frame counts; allowed: at least one size");
    }
    let size = |text: &str| {
        let what = || format!("{} is not a size; allowed: such as \"6\", \"6-8\" or \"100-\"", quoted(text));
        Sizes::parse(text).ok_or_else(what)
    };
    Some(listed.into_iter().filter_map(|(text, at)| at.accept(size(text))).collect())
}

const MONTH: f64 = 2_592_000.0;
