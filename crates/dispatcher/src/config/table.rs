//! Reads one table of the file, key by key. Every key that is requested is a known key; any other key is a problem. A wrong
//! value is reported with its line and then treated as missing, so one pass finds every problem of a file. The meaning of
//! keys is not defined here.

use super::setting::Kind;
use slotkeeper_core::Millis;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Everything that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// In order of their lines; never empty.
    pub problems: Vec<String>,
}

impl Display for ConfigError {
    /// One problem per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// One file being read, and what was found in it.
pub(super) struct Source<'a> {
    /// The file's name in messages.
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    /// Relative paths in the file are relative to this.
    pub(super) folder: &'a Path,
    pub(super) problems: RefCell<Vec<(usize, String)>>,
    /// Settings that look wrong, but may be right.
    warnings: RefCell<Vec<(usize, String)>>,
    /// Variables of the environment that hold secrets.
    pub(super) secrets: RefCell<BTreeSet<String>>,
    /// Every key that was requested, `*` for names that the operator chooses.
    pub(super) asked: RefCell<BTreeSet<String>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, name: &'a str, folder: &'a Path) -> Source<'a> {
        Source {
            name,
            text,
            folder,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            secrets: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    pub(super) fn problem(&self, at: usize, what: impl Display) {
        self.problems.borrow_mut().push(self.noted(at, what));
    }

    fn warning(&self, at: usize, what: impl Display) {
        self.warnings.borrow_mut().push(self.noted(at, what));
    }

    fn noted(&self, at: usize, what: impl Display) -> (usize, String) {
        let line = 1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        (line, format!("{}:{line}: {what}", self.name))
    }

    /// In order of their lines.
    pub(super) fn warnings(&self) -> Vec<String> {
        in_order(self.warnings.take())
    }

    /// A table that was read before and has a key of this name.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let asked = self.asked.borrow();
        asked.iter().find_map(|known| match known.rsplit_once('.') {
            None if known == key => Some("the top of the file, before the first table".to_owned()),
            Some((table, last)) if last == key => Some(format!("[{}]", table.replace('*', "NAME"))),
            _ => None,
        })
    }

    /// `Err` if anything was found.
    pub(super) fn verdict(&self) -> Result<(), ConfigError> {
        let problems = in_order(self.problems.borrow().clone());
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }
}

fn in_order(mut found: Vec<(usize, String)>) -> Vec<String> {
    found.sort();
    found.dedup();
    found.into_iter().map(|(_, text)| text).collect()
}

/// One table of the file.
pub(super) struct Table<'a> {
    pub(super) source: &'a Source<'a>,
    /// `pools.consoles`; empty for the file itself.
    pub(super) path: String,
    /// The same path in the form of [`Source::asked`].
    shape: String,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

/// One value of the file.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) path: String,
    shape: String,
    span: Range<usize>,
    inner: &'a DeValue<'a>,
}

impl<'a> Table<'a> {
    pub(super) fn root(source: &'a Source<'a>, entries: &'a DeTable<'a>) -> Table<'a> {
        Table { source, path: String::new(), shape: String::new(), span: 0..0, entries, asked: RefCell::default() }
    }

    pub(super) fn value(&self, key: &'static str) -> Option<Value<'a>> {
        self.asked.borrow_mut().push(key);
        self.source.asked.borrow_mut().insert(join(&self.shape, key));
        let (name, value) = self.entries.get_key_value(key)?;
        let table = matches!(value.get_ref(), DeValue::Table(_));
        let span = if table { name.span() } else { value.span() };
        let (path, shape) = (join(&self.path, key), join(&self.shape, key));
        Some(Value { source: self.source, path, shape, span, inner: value.get_ref() })
    }

    /// Every entry of a table whose keys are names that the operator chooses, in the order of the file.
    pub(super) fn named(&self) -> Vec<(String, Value<'a>)> {
        let mut all: Vec<(String, Value<'a>)> = self
            .entries
            .iter()
            .map(|(name, value)| {
                let (path, shape) = (join(&self.path, name.get_ref()), join(&self.shape, "*"));
                let value = Value { source: self.source, path, shape, span: name.span(), inner: value.get_ref() };
                (name.get_ref().to_string(), value)
            })
            .collect();
        all.sort_by_key(|(_, value)| value.span.start);
        all
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reports a problem with this key, which may be missing.
    pub(super) fn wrong(&self, key: &str, what: impl Display) {
        let at = self.entries.get_key_value(key).map_or(self.span.start, |(name, _)| name.span().start);
        self.source.problem(at, format_args!("key `{}`: {what}", join(&self.path, key)));
    }

    /// Reports a warning: the value of this key looks wrong, but may be right.
    pub(super) fn doubt(&self, key: &str, what: impl Display) {
        let at = self.entries.get_key_value(key).map_or(self.span.start, |(name, _)| name.span().start);
        self.source.warning(at, format_args!("key `{}`: {what}", join(&self.path, key)));
    }

    pub(super) fn start(&self) -> usize {
        self.span.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn accept<T>(&self, key: &str, read: Result<T, String>) -> Option<T> {
        read.inspect_err(|what| self.wrong(key, what)).ok()
    }

    pub(super) fn missing(&self, key: &str, what: impl Display) {
        self.wrong(key, format_args!("missing; {what}"));
    }

    pub(super) fn string(&self, key: &'static str) -> Option<&'a str> {
        self.value(key)?.string("text")
    }

    pub(super) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        self.value(key)?.table()
    }

    /// The strings of a list, each with its place.
    pub(super) fn list(&self, key: &'static str) -> Option<Vec<(&'a str, Value<'a>)>> {
        let value = self.value(key)?;
        let items = value.items("a list of texts")?;
        Some(items.into_iter().filter_map(|item| Some((item.string("text")?, item))).collect())
    }

    /// True if there is an empty list.
    pub(super) fn has_empty_list(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| matches!(value.get_ref(), DeValue::Array(items) if items.is_empty()))
    }

    /// As [`Table::list`], or one string.
    pub(super) fn one_or_list(&self, key: &'static str) -> Option<Vec<(&'a str, Value<'a>)>> {
        let value = self.value(key)?;
        if let DeValue::String(text) = value.inner {
            return Some(vec![(text.as_ref(), value)]);
        }
        if matches!(value.inner, DeValue::Array(_)) {
            self.list(key)
        } else {
            value.wrong_type("text or a list of texts")
        }
    }

    /// The folder that relative paths are relative to.
    pub(super) fn folder(&self) -> &Path {
        self.source.folder
    }

    /// A path, relative to the file.
    pub(super) fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.value(key)?.path()
    }

    /// Reports unknown keys, after every known key has been requested.
    pub(super) fn finish(&self) {
        let known = self.asked.borrow();
        for (name, _) in self.entries.iter() {
            let key: &str = name.get_ref();
            if known.contains(&key) {
                continue;
            }
            let hint = if let Some(elsewhere) = self.source.elsewhere(key) {
                format!("it belongs to {elsewhere}")
            } else if let Some(near) = nearest(key, &known) {
                format!("did you mean `{near}`?")
            } else {
                let all: BTreeSet<&str> = known.iter().copied().collect();
                format!("known here: {}", all.into_iter().collect::<Vec<_>>().join(", "))
            };
            self.source
                .problem(name.span().start, format_args!("key `{}`: unknown key; {hint}", join(&self.path, key)));
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn doubt(&self, what: impl Display) {
        self.source.warning(self.span.start, format_args!("key `{}`: {what}", self.path));
    }

    pub(super) fn wrong(&self, what: impl Display) {
        self.source.problem(self.span.start, format_args!("key `{}`: {what}", self.path));
    }

    fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let found = match self.inner {
            DeValue::String(text) => format!("the text {}", quoted(text)),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(yes) => yes.to_string(),
            DeValue::Datetime(_) => "a date or time (write it in quotes)".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.wrong(format_args!("found {found}; allowed: {expected}"));
        None
    }

    pub(super) fn string(&self, expected: &str) -> Option<&'a str> {
        if let DeValue::String(text) = self.inner { Some(text) } else { self.wrong_type(expected) }
    }

    pub(super) fn accept<T>(&self, read: Result<T, String>) -> Option<T> {
        read.inspect_err(|what| self.wrong(what)).ok()
    }

    pub(super) fn bool(&self) -> Option<bool> {
        if let DeValue::Boolean(yes) = self.inner { Some(*yes) } else { self.wrong_type("true or false") }
    }

    /// A path, relative to the file.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.string("text")?;
        if text.is_empty() || text.contains('\0') {
            self.wrong(format_args!("{text:?} is not a path; allowed: a path, relative to this file or absolute"));
            return None;
        }
        Some(self.source.folder.join(text))
    }

    pub(super) fn is_text(&self, text: &str) -> bool {
        matches!(self.inner, DeValue::String(own) if own == text)
    }

    pub(super) fn is_string(&self) -> bool {
        matches!(self.inner, DeValue::String(_))
    }

    pub(super) fn number<T: TryFrom<i64> + PartialOrd + Display + Copy>(
        &self,
        allowed: &RangeInclusive<T>,
    ) -> Option<T> {
        let expected = format!("a whole number from {} to {}", allowed.start(), allowed.end());
        let DeValue::Integer(number) = self.inner else { return self.wrong_type(&expected) };
        let value = i64::from_str_radix(number.as_str(), number.radix()).ok().and_then(|n| T::try_from(n).ok());
        if value.is_none_or(|value| !allowed.contains(&value)) {
            self.wrong(format_args!("{number} is out of range; allowed: {expected}"));
            return None;
        }
        value
    }

    /// A number of seconds, or a text with units. With `off`, 0 and `"off"` are also allowed, and return zero.
    pub(super) fn seconds(&self, allowed: &RangeInclusive<f64>, off: bool) -> Option<Duration> {
        let or_off = if off { ", or \"off\"" } else { "" };
        let expected = format!("seconds from {} to {}{or_off}", allowed.start(), allowed.end());
        if off && self.is_text("off") {
            return Some(Duration::ZERO);
        }
        let (text, seconds) = if let DeValue::String(text) = self.inner {
            let Some(seconds) = super::duration::seconds(text) else {
                let units = "or a text such as \"90s\", \"10m\" or \"1h30m\"";
                self.wrong(format_args!("{} is not a duration; allowed: {expected}, {units}", quoted(text)));
                return None;
            };
            (quoted(text), seconds)
        } else {
            self.float(&expected)?
        };
        if !(allowed.contains(&seconds) || off && seconds == 0.0) {
            self.wrong(format_args!("{text} is out of range; allowed: {expected}"));
            return None;
        }
        Some(Duration::from_millis((seconds * 1000.0).round() as u64))
    }

    /// A number, fractions allowed.
    pub(super) fn decimal(&self, kind: Kind) -> Option<f64> {
        let allowed = if let Kind::Decimal { least, most } = kind { least..=most } else { f64::MIN..=f64::MAX };
        let expected = format!("a number from {} to {}", allowed.start(), allowed.end());
        let (text, number) = self.float(&expected)?;
        if !allowed.contains(&number) {
            self.wrong(format_args!("{text} is out of range; allowed: {expected}"));
            return None;
        }
        Some(number)
    }

    /// The text of a number, and its value.
    fn float(&self, expected: &str) -> Option<(String, f64)> {
        if let DeValue::Integer(n) = self.inner {
            Some((n.to_string(), i64::from_str_radix(n.as_str(), n.radix()).map_or(f64::NAN, |n| n as f64)))
        } else if let DeValue::Float(n) = self.inner {
            Some((n.to_string(), n.as_str().parse().unwrap_or(f64::NAN)))
        } else {
            self.wrong_type(expected)
        }
    }

    /// Reads one of these names; the third part, its meaning, is not used.
    pub(super) fn choice<T: Copy>(&self, all: &[(&str, T, &str)]) -> Option<T> {
        let expected = all.iter().map(|(name, ..)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let text = self.string(&expected)?;
        let found = all.iter().find(|(name, ..)| *name == text).map(|(_, value, _)| *value);
        if found.is_none() {
            self.wrong(format_args!("{} is not known; allowed: {expected}", quoted(text)));
        }
        found
    }

    pub(super) fn table(&self) -> Option<Table<'a>> {
        let DeValue::Table(entries) = self.inner else { return self.wrong_type("a table") };
        Some(Table {
            source: self.source,
            path: self.path.clone(),
            shape: self.shape.clone(),
            span: self.span.clone(),
            entries,
            asked: RefCell::default(),
        })
    }

    pub(super) fn items(&self, expected: &str) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(items) = self.inner else { return self.wrong_type(expected) };
        let item = |(n, item): (usize, &'a toml::Spanned<DeValue<'a>>)| Value {
            source: self.source,
            path: format!("{}[{n}]", self.path),
            shape: self.shape.clone(),
            span: item.span(),
            inner: item.get_ref(),
        };
        Some(items.iter().enumerate().map(item).collect())
    }
}

pub(super) fn millis(duration: Duration) -> Millis {
    Millis(duration.as_millis() as u64)
}

/// Text for a message: quoted, escaped, and shortened to 80 characters.
pub(super) fn quoted(text: &str) -> String {
    if text.chars().count() <= 80 {
        format!("{text:?}")
    } else {
        format!("{:?}…", text.chars().take(79).collect::<String>())
    }
}

fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'*');
    let key = if bare { key.to_owned() } else { quoted(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The known key that was probably meant: one that starts with `key` and an underscore, or the one with the fewest typing
/// errors.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    if let Some(longer) = known.iter().find(|other| other.strip_prefix(key).is_some_and(|rest| rest.starts_with('_'))) {
        return Some(longer);
    }
    let near = known.iter().map(|other| (distance(key, other), *other)).min()?;
    (near.0 <= 1 + key.len() / 5).then_some(near.1)
}

/// The Levenshtein distance: the number of letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replace = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
