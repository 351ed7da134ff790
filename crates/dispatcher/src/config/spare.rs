//! Reads spare slots: a number, a percentage, or a weekly schedule of them.

use super::PoolConfig;
use super::schedule::{Days, Minute, Schedule, Window};
use super::setting::{Access, Kind, Row, Setting, Shown, field, read_all};
use super::table::{Table, Value, quoted};
use slotkeeper_core::{Rules, Spare};

pub(super) const SCHEDULE: &[Row<Window>] = &[
    Row::new(
        "days",
        Kind::OneOrList("days"),
        Access { read: days, shown: |_, window: &Window| Some(Shown::text(window.days)), ..Access::NONE },
    )
    .help("days on which the window starts", "")
    .range("one or a list of `\"mon\"` ... `\"sun\"`, `\"mon-fri\"`, `\"daily\"`"),
    Row::new("from", Kind::Text("`\"00:00\"` to `\"24:00\"`"), field!(Window, from = minute, ""))
        .help("start of the window", ""),
    Row::new("to", Kind::Text("`\"00:00\"` to `\"24:00\"`"), field!(Window, to = minute, ""))
        .help("end of the window", "; if earlier than `from`: on the next day"),
    Row::new("spare", Kind::Slots, Access::NONE)
        .help("free slots kept ready during the window", "")
        .range("as `spare`; all numbers or all percentages")
        .required(),
];

/// Reads `spare` of a pool, after the sizes that limit it.
pub(super) fn slots(_: &Setting, table: &Table<'_>, pool: &mut PoolConfig) {
    pool.rules.spare = spare(table, &pool.rules);
}

pub(super) fn shown(spare: Spare) -> Shown {
    match spare {
        Spare::Slots(slots) => Shown::plain(slots),
        Spare::Percent(percent) => Shown::Text(format!("{percent}%")),
    }
}

/// A number of slots, or a percentage of the busy ones in quotes.
fn spare(table: &Table<'_>, rules: &Rules) -> Spare {
    let Some(value) = table.value("spare") else { return rules.spare };
    let most = u64::from(rules.max) * u64::from(rules.slots_per_pod);
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    if !value.is_string() {
        return value.number(&(0..=most)).map_or(rules.spare, Spare::Slots);
    }
    let text = value.string("").unwrap_or_default();
    let percent = text.strip_suffix('%').filter(|n| n.bytes().all(|b| b.is_ascii_digit())).and_then(|n| n.parse().ok());
    if percent.is_none_or(|percent: u32| percent > 1000) {
        let what =
            format!("{} is not a percentage; allowed: \"0%\" to \"1000%\", or slots from 0 to {most}", quoted(text));
        value.wrong(what);
    }
    Spare::Percent(percent.unwrap_or(0))
}

pub(super) fn schedule(pool: &Table<'_>, rules: &Rules) -> Option<Schedule> {
    let zone = pool.string("time_zone");
    let items = pool.value("schedule").and_then(|value| value.items("a list of tables, [[pools.NAME.schedule]]"));
    let windows: Vec<Window> =
        items.unwrap_or_default().iter().filter_map(Value::table).map(|table| window(&table, rules)).collect();
    let percent = |window: &Window| matches!(window.spare, Spare::Percent(_));
    if windows.iter().any(percent) && !windows.iter().all(percent) {
        pool.wrong(
            "schedule",
            "mixes slots and percentages; allowed: one of the two, so that the largest is known where windows overlap",
        );
    }
    match zone {
        Some(zone) => {
            if windows.is_empty() && !pool.has("schedule") {
                pool.wrong("time_zone", "has no effect alone; allowed: with [[schedule]]");
            }
            let what = |_| format!("{} is not a time zone; allowed: names such as Europe/Berlin or UTC", quoted(zone));
            pool.accept("time_zone", Schedule::new(zone, rules.spare, windows).map_err(what))
                .filter(|s| !s.windows().is_empty())
        }
        None => {
            if pool.has("schedule") && !pool.has("time_zone") {
                pool.missing("time_zone", "a schedule needs one; allowed: names such as Europe/Berlin or UTC");
            }
            None
        }
    }
}

fn window(table: &Table<'_>, rules: &Rules) -> Window {
    let mut window = Window { days: Days::DAILY, from: Minute::MIDNIGHT, to: Minute::END_OF_DAY, spare: rules.spare };
    read_all(SCHEDULE, table, &mut window);
    let to = window.to;
    if window.from == to {
        table.wrong("to", format_args!("{to} is also `from`; allowed: another time, or neither for the whole day"));
    }
    if !table.has("spare") {
        table.missing("spare", "allowed: slots, or a percentage in quotes");
    }
    window.spare = spare(table, rules);
    table.finish();
    window
}

fn minute(text: &str) -> Result<Minute, String> {
    let what = || format!("{} is not a time; allowed: \"00:00\" to \"24:00\"", quoted(text));
    Minute::parse(text).ok_or_else(what)
}

fn days(setting: &Setting, table: &Table<'_>, window: &mut Window) {
    let Some(listed) = table.one_or_list(setting.key) else { return };
    window.days = Days::NONE;
    for (text, at) in listed {
        let what = || {
            format!(
                "{} is not a day; allowed: mon, tue, wed, thu, fri, sat, sun, such as mon-fri, or daily",
                quoted(text)
            )
        };
        window.days = window.days.and(at.accept(Days::parse(text).ok_or_else(what)).unwrap_or(Days::NONE));
    }
    if table.has_empty_list(setting.key) {
        table.wrong(setting.key, "the list is empty; allowed: days, or leave it out for every day");
    }
}
