//! A setting is written once, as a row: key, kind, range, help, whether a reload applies it, and the field that holds its value.
//! The reader (`read_all`), `slotkeeper check` (`describe.rs`), the tables of CONFIG.md (`reference.rs`) and the JSON Schema
//! (`schema.rs`) are made from the rows, and so is the reload (`ops/reload.rs`), except for tables that it compares as a whole.
//! The default is the field's value in the type's default, so it is not repeated here.

use super::field::Field;
use super::table::Table;
use std::fmt::{self, Debug, Display};
use std::time::Duration;

/// The description of a setting, independent of a file.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name within its table.
    pub key: &'static str,
    /// The type of its value, and the range.
    pub kind: Kind,
    /// The default in words, if it is not one value for all.
    pub default: Option<&'static str>,
    /// The allowed values in words, if the kind is not enough.
    pub range: Option<&'static str>,
    /// The file has to set it: there is no default.
    pub required: bool,
    /// Whether a reload applies a change, or a restart is needed.
    pub live: bool,
    /// What it means, in one phrase.
    pub help: &'static str,
    /// The rest of its explanation, after the phrase.
    pub more: &'static str,
    /// The name in the output of `slotkeeper check`, if it is another one.
    pub shown_as: Option<&'static str>,
}

/// Type and range of a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number; `or` is a text that is allowed in its place, such as "off".
    Number {
        /// The lowest allowed value.
        least: u64,
        /// The highest allowed value.
        most: u64,
        /// The allowed text.
        or: Option<&'static str>,
    },
    /// A number, fractions allowed.
    Decimal {
        /// The lowest allowed value.
        least: f64,
        /// The highest allowed value.
        most: f64,
    },
    /// A duration: a number of seconds, or a text with units. With `off`, also 0 and "off".
    Seconds {
        /// The shortest allowed duration, in seconds.
        least: f64,
        /// The longest allowed duration, in seconds.
        most: f64,
        /// Whether 0 and "off" are allowed.
        off: bool,
    },
    /// `true` or `false`.
    Bool,
    /// One of some texts, each with its meaning (or none).
    Choice(fn() -> Vec<(&'static str, &'static str)>),
    /// Text of this form.
    Text(&'static str),
    /// A list of such items: "texts", for example.
    List(&'static str),
    /// One such item, or a list of them.
    OneOrList(&'static str),
    /// The path of a file or a folder.
    Path,
    /// The name of an environment variable.
    Variable,
    /// A number of slots, or a percentage in quotes.
    Slots,
    /// The name or the number of a user or a group.
    Account,
    /// Texts by names that the operator chooses.
    Texts,
    /// A table that has settings of its own.
    Table,
    /// A list of such tables.
    Tables,
}

/// A value as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shown {
    Seconds(Duration),
    /// A number, true or false.
    Plain(String),
    Text(String),
    List(Vec<String>),
    /// No value, in words: "none".
    Words(&'static str),
}

impl Shown {
    pub(super) const OFF: &'static str = "off";

    pub(super) fn text(text: impl Display) -> Shown {
        Shown::Text(text.to_string())
    }

    pub(super) fn plain(value: impl Display) -> Shown {
        Shown::Plain(value.to_string())
    }

    /// A list, or what an empty one means.
    pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>, none: &'static str) -> Shown {
        let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
        if items.is_empty() { Shown::Words(none) } else { Shown::List(items) }
    }

    pub(super) fn or<T: Display>(value: &Option<T>, none: &'static str) -> Shown {
        value.as_ref().map_or(Shown::Words(none), Shown::text)
    }
}

impl Display for Shown {
    /// As `slotkeeper check` shows it: seconds also with a larger unit if that is easier to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Seconds(duration) => {
                let seconds = duration.as_millis() as f64 / 1000.0;
                let units = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min")];
                match units.iter().find(|(unit, _)| seconds > 60.0 && seconds >= *unit && seconds % unit == 0.0) {
                    Some((unit, name)) => write!(f, "{seconds} ({} {name})", seconds / unit),
                    None => write!(f, "{seconds}"),
                }
            }
            Shown::Plain(text) | Shown::Text(text) => f.write_str(text),
            Shown::List(items) => f.write_str(&items.join(", ")),
            Shown::Words(text) => f.write_str(text),
        }
    }
}

/// A setting and the field of `T` that holds its value.
pub(crate) struct Row<T: 'static> {
    pub(crate) setting: Setting,
    pub(super) access: Access<T>,
}

/// How a setting is read and shown.
pub(crate) struct Access<T: 'static> {
    /// Takes the value from the file. A wrong one is reported, and leaves the field as it is.
    pub(super) read: fn(&Setting, &Table<'_>, &mut T),
    /// `None`: it has no effect in this configuration.
    pub(super) shown: fn(&Setting, &T) -> Option<Shown>,
    /// The old and the new value. Returns whether they differ; if the setting needs a restart, the old one stays.
    pub(super) merge: fn(&T, &mut T, bool) -> bool,
    /// The meaning of the value, if it is not the setting's help.
    pub(super) means: Option<fn(&T) -> &'static str>,
}

impl<T> Row<T> {
    pub(super) const fn new(key: &'static str, kind: Kind, access: Access<T>) -> Row<T> {
        let setting = Setting {
            key,
            kind,
            default: None,
            range: None,
            required: false,
            live: true,
            help: "",
            more: "",
            shown_as: None,
        };
        Row { setting, access }
    }

    /// What it means: a phrase, and the rest of the explanation.
    pub(super) const fn help(mut self, help: &'static str, more: &'static str) -> Row<T> {
        self.setting.help = help;
        self.setting.more = more;
        self
    }

    pub(super) const fn restart(mut self) -> Row<T> {
        self.setting.live = false;
        self
    }

    pub(super) const fn required(mut self) -> Row<T> {
        self.setting.required = true;
        self
    }

    /// The default in words.
    pub(super) const fn default(mut self, words: &'static str) -> Row<T> {
        self.setting.default = Some(words);
        self
    }

    /// The allowed values in words.
    pub(super) const fn range(mut self, words: &'static str) -> Row<T> {
        self.setting.range = Some(words);
        self
    }

    pub(super) const fn shown_as(mut self, key: &'static str) -> Row<T> {
        self.setting.shown_as = Some(key);
        self
    }

    pub(super) const fn means(mut self, means: fn(&T) -> &'static str) -> Row<T> {
        self.access.means = Some(means);
        self
    }
}

impl<T> Access<T> {
    /// A setting that the reader of its table takes by its key, and that is shown with another one.
    pub(super) const NONE: Access<T> =
        Access { read: |_, _, _| {}, shown: |_, _| None, merge: |_, _, _| false, means: None };

    pub(super) const fn shown(shown: fn(&Setting, &T) -> Option<Shown>) -> Access<T> {
        Access { shown, ..Access::NONE }
    }
}

/// Reads every setting of a table, in the order of the rows.
pub(super) fn read_all<T>(rows: &[Row<T>], table: &Table<'_>, into: &mut T) {
    for row in rows {
        (row.access.read)(&row.setting, table, into);
    }
}

/// Compares the settings of two configurations. Returns the keys that differ, and whether a reload applies them; for the others,
/// the old value is put into `new`.
pub(crate) fn merge_all<T>(rows: &[Row<T>], old: &T, new: &mut T) -> Vec<(&'static str, bool)> {
    let differs = |row: &&Row<T>| (row.access.merge)(old, new, !row.setting.live);
    rows.iter().filter(differs).map(|row| (row.setting.key, row.setting.live)).collect()
}

/// Compares two values by their debug output: not for secrets, which it hides.
pub(crate) fn differ<T: Debug>(old: &T, new: &T) -> bool {
    format!("{old:?}") != format!("{new:?}")
}

/// The `merge` of [`Access`] for a field: compares the old and the new value.
pub(super) fn keep<F: Clone + Debug>(old: &F, new: &mut F, restart: bool) -> bool {
    let differs = differ(old, new);
    if differs && restart {
        new.clone_from(old);
    }
    differs
}

/// Seconds of a day.
pub(super) const DAY: f64 = 86_400.0;
/// The maximum of clocks that may run for weeks.
pub(super) const LONG: f64 = 30.0 * DAY;

pub(super) const fn number(least: u64, most: u64) -> Kind {
    Kind::Number { least, most, or: None }
}

pub(super) const fn number_or(least: u64, most: u64, or: &'static str) -> Kind {
    Kind::Number { least, most, or: Some(or) }
}

pub(super) const fn seconds(least: f64, most: f64) -> Kind {
    Kind::Seconds { least, most, off: false }
}

pub(super) const fn seconds_or_off(least: f64, most: f64) -> Kind {
    Kind::Seconds { least, most, off: true }
}

/// Reads a field by its kind.
pub(super) fn read_field<F: Field>(field: &mut F, setting: &Setting, table: &Table<'_>) {
    if let Some(value) = table.value(setting.key)
        && let Some(new) = F::read(setting.kind, &value)
    {
        *field = new;
    }
}

/// The access to a field.
///
/// - `field!(Limits, header_bytes)`: the field's type decides how its kind is read ([`Field`]).
/// - `field!(PoolConfig, path = addresses::path, "any")`: a text that this function parses; the words stand for no value.
/// - `field!(PoolConfig, hosts = [addresses::host_pattern], "any")`: a list of them, or one.
macro_rules! field {
    ($on:ty, $($field:tt).+) => {
        $crate::config::setting::Access {
            read: |setting, table, on: &mut $on| $crate::config::setting::read_field(&mut on.$($field).+, setting, table),
            shown: |setting, on: &$on| Some($crate::config::field::Field::shown(&on.$($field).+, setting.kind)),
            ..$crate::config::setting::kept!($on, $($field).+)
        }
    };
    ($on:ty, $($field:tt).+ = [$parse:expr], $none:literal) => {
        $crate::config::setting::Access {
            read: |setting, table, on: &mut $on| {
                if let Some(items) = table.one_or_list(setting.key) {
                    on.$($field).+ = items.iter().filter_map(|(text, at)| at.accept($parse(text))).collect();
                }
            },
            shown: |_, on: &$on| Some($crate::config::setting::Shown::list(&on.$($field).+, $none)),
            ..$crate::config::setting::kept!($on, $($field).+)
        }
    };
    ($on:ty, $($field:tt).+ = $parse:expr, $none:literal) => {
        $crate::config::setting::Access {
            read: |setting, table, on: &mut $on| {
                let read = table.string(setting.key).and_then(|text| table.accept(setting.key, $parse(text)));
                if let Some(read) = read {
                    on.$($field).+ = read.into();
                }
            },
            shown: |_, on: &$on| Some($crate::config::field::Written::written(&on.$($field).+, $none)),
            ..$crate::config::setting::kept!($on, $($field).+)
        }
    };
}
pub(super) use field;

/// The access to a field that only a reload needs to know: `Access { read, shown, ..kept!(PoolConfig, rules.spare) }`.
macro_rules! kept {
    ($on:ty, $($field:tt).+) => {
        $crate::config::setting::Access {
            merge: |old: &$on, new: &mut $on, restart| {
                $crate::config::setting::keep(&old.$($field).+, &mut new.$($field).+, restart)
            },
            ..$crate::config::setting::Access::NONE
        }
    };
}
pub(super) use kept;
