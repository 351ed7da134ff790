//! A strict parser for our pages: every element is closed in order, every attribute is quoted, every reference has a
//! target. Stricter than a browser, which would repair errors silently.

use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) source: String,
    /// All its text, without tags and with references resolved.
    pub(crate) text: String,
    /// Each element's name, and where it begins and ends in the source.
    elements: Vec<(String, usize, usize)>,
}

impl Document {
    pub(crate) fn parse(source: &str) -> Result<Document, String> {
        let mut reader = Reader { source, at: 0, open: Vec::new(), ids: BTreeSet::new(), targets: Vec::new() };
        let (mut text, mut elements) = (String::new(), Vec::new());
        while reader.at < source.len() {
            reader.next(&mut text, &mut elements)?;
        }
        if let Some((name, _)) = reader.open.last() {
            return Err(format!("{name} is never closed"));
        }
        match reader.targets.iter().find(|t| !reader.ids.contains(*t)) {
            Some(target) => Err(format!("nothing has the id {target:?}")),
            None => Ok(Document { source: source.to_owned(), text, elements }),
        }
    }

    /// Returns the source of all elements with this name, in the order of their ends.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.elements.iter().filter(|(n, _, _)| n == name).map(|(_, from, to)| &self.source[*from..*to]).collect()
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.all(name).len()
    }
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    /// The open elements, and where they begin.
    open: Vec<(&'a str, usize)>,
    ids: BTreeSet<&'a str>,
    targets: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    /// Reads one tag, or the text up to the next one.
    fn next(&mut self, text: &mut String, elements: &mut Vec<(String, usize, usize)>) -> Result<(), String> {
        let (start, rest) = (self.at, &self.source[self.at..]);
        if self.open.last().is_some_and(|(name, _)| *name == "style") && !rest.starts_with("</") {
            self.at += rest.find("</style>").ok_or("the style never ends")?;
        } else if rest.starts_with("<!doctype html>") {
            self.at += "<!doctype html>".len();
        } else if !rest.starts_with('<') {
            let end = rest.find('<').unwrap_or(rest.len());
            *text += &resolved(&rest[..end])?;
            self.at += end;
        } else {
            let end = rest.find('>').ok_or("a tag never ends")?;
            let tag = &rest[1..end];
            self.at += end + 1;
            if let Some(name) = tag.strip_prefix('/') {
                let (open, from) = self.open.pop().ok_or_else(|| format!("{name} was never opened"))?;
                if open != name {
                    return Err(format!("{open} is closed by {name}"));
                }
                elements.push((name.to_owned(), from, self.at));
            } else {
                let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |t| (t, true));
                let name = self.tag(tag)?;
                // A browser closes these implicitly.
                let void = matches!(name, "meta" | "br");
                if void && !empty {
                    return Err(format!("{name} cannot hold anything"));
                }
                if empty {
                    elements.push((name.to_owned(), start, self.at));
                } else {
                    self.open.push((name, start));
                }
            }
        }
        Ok(())
    }

    /// Returns the tag's name, and checks its attributes.
    fn tag(&mut self, tag: &'a str) -> Result<&'a str, String> {
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(format!("<{tag}> is not a tag"));
        }
        let mut seen = BTreeSet::new();
        while !rest.is_empty() {
            let wrong = || format!("attributes of <{tag}>");
            let (key, after) = rest.split_once("=\"").ok_or_else(wrong)?;
            let (value, after) = after.split_once('"').ok_or_else(wrong)?;
            if !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') || value.contains('<') || !seen.insert(key) {
                return Err(wrong());
            }
            resolved(value)?;
            if key == "id" && !self.ids.insert(value) {
                return Err(format!("two elements have the id {value:?}"));
            }
            if key == "aria-labelledby" {
                self.targets.push(value);
            }
            self.targets.extend(value.strip_prefix('#'));
            self.targets.extend(value.strip_prefix("url(#").and_then(|v| v.strip_suffix(')')));
            rest = match after.strip_prefix(' ') {
                Some(more) => more,
                None if after.is_empty() => after,
                None => return Err(wrong()),
            };
        }
        Ok(name)
    }
}

/// Resolves the references in a text.
fn resolved(text: &str) -> Result<String, String> {
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(';').ok_or_else(|| format!("a bare & before {part:?}"))?;
        out += match name {
            "amp" => "&",
            "lt" => "<",
            "gt" => ">",
            "quot" => "\"",
            "#39" => "'",
            other => return Err(format!("&{other}; is unknown")),
        };
        out += rest;
    }
    Ok(out)
}
