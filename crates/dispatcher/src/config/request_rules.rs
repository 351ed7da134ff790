//! Rules that classify requests: which ones are passive, and which ones restart a session that has ended by itself. The
//! reader of passive rules is `config/passive.rs`.

use super::Admission;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use memchr::memmem::Finder;
use std::fmt;

/// A text in which `*` matches any characters. Each request is compared with many, so what can be found out before is.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    /// The lengths of what stands before the first and after the last `*`. `None`: there is none.
    ends: Option<(usize, usize)>,
    /// What stands between two `*`.
    middle: Vec<Finder<'static>>,
}

impl Pattern {
    /// Returns whether the whole text matches, with regard to case.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Pattern {
        let text = text.into();
        let parts: Vec<&str> = text.split('*').collect();
        let (ends, middle) = match &parts[..] {
            [first, middle @ .., last] => (Some((first.len(), last.len())), middle),
            [] | [_] => (None, &[][..]),
        };
        let middle = middle.iter().map(|part| Finder::new(part).into_owned()).collect();
        Pattern { ends, middle, text }
    }

    /// Returns whether the whole text matches, with regard to case.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (text, own) = (text.as_bytes(), self.text.as_bytes());
        let Some((first, last)) = self.ends else { return text == own };
        let between = text.strip_prefix(&own[..first]).and_then(|rest| rest.strip_suffix(&own[own.len() - last..]));
        let Some(mut rest) = between else { return false };
        self.middle.iter().all(|part| {
            let found = part.find(rest);
            rest = found.and_then(|at| rest.get(at + part.needle().len()..)).unwrap_or_default();
            found.is_some()
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A field of Fetch Metadata and one of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `Sec-Fetch-Mode`.
    Mode,
    /// `Sec-Fetch-Dest`.
    Dest,
    /// `Sec-Fetch-Site`.
    Site,
    /// `Sec-Purpose`, or its older forms.
    Purpose,
}

impl Field {
    /// All fields, by their names in the file.
    pub const ALL: [(&'static str, Field); 4] =
        [("mode", Field::Mode), ("dest", Field::Dest), ("site", Field::Site), ("purpose", Field::Purpose)];

    fn has(self, headers: &HeaderMap, value: &str) -> bool {
        let names: &[&str] = match self {
            Field::Mode => &["sec-fetch-mode"],
            Field::Dest => &["sec-fetch-dest"],
            Field::Site => &["sec-fetch-site"],
            // Older browsers send the second and the third.
            Field::Purpose => &["sec-purpose", "purpose", "x-moz"],
        };
        names.iter().filter_map(|name| headers.get(*name).map(HeaderValue::as_bytes)).any(|said| {
            said.split(|b| matches!(b, b';' | b','))
                .any(|word| word.trim_ascii().eq_ignore_ascii_case(value.as_bytes()))
        })
    }
}

/// A rule: matches requests that meet all its conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passive {
    /// Patterns for the path without the query. Of each list, one entry must match; an empty list matches everything.
    pub paths: Vec<Pattern>,
    /// One of them.
    pub methods: Vec<Method>,
    /// In lower case; compared without regard to case.
    pub user_agents: Vec<Pattern>,
    /// One of these fields has this value.
    pub fetch: Vec<(Field, String)>,
}

/// Health checkers and uptime monitors.
const CHECKERS: [&str; 14] = [
    "kube-probe/*",
    "googlehc/*",
    "elb-healthchecker/*",
    "amazon-route53-health-check-service*",
    "alwayson-probe*",
    "load balancer agent",
    "edge health probe",
    "consul health check",
    "blackbox exporter/*",
    "*uptimerobot/*",
    "pingdom.com_bot_version_*",
    "*statuscake*",
    "*uptime-kuma/*",
    "*betteruptime*",
];

impl Passive {
    /// Speculative loads, and health checks.
    #[must_use]
    pub fn usual() -> Vec<Passive> {
        vec![
            Passive { fetch: vec![(Field::Purpose, "prefetch".into())], ..Passive::default() },
            Passive {
                methods: vec![Method::GET, Method::HEAD],
                user_agents: CHECKERS.map(Pattern::new).to_vec(),
                ..Passive::default()
            },
        ]
    }

    /// Returns whether the request meets all conditions.
    #[must_use]
    pub fn matches<B>(&self, request: &Request<B>) -> bool {
        let headers = request.headers();
        (self.methods.is_empty() || self.methods.contains(request.method()))
            && (self.paths.is_empty() || self.paths.iter().any(|path| path.matches(request.uri().path())))
            && (self.fetch.is_empty() || self.fetch.iter().any(|(field, value)| field.has(headers, value)))
            && (self.user_agents.is_empty() || {
                let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
                let agent = agent.to_ascii_lowercase();
                self.user_agents.iter().any(|pattern| pattern.matches(&agent))
            })
    }

    /// Whether the request asks for the state of the service, not for a page.
    #[must_use]
    pub fn is_health_check<B>(&self, request: &Request<B>) -> bool {
        !self.user_agents.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD)
    }
}

/// Which requests restart a session that has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoin {
    /// All requests.
    Any,
    /// Requests that a visitor makes, not those that a page makes in the background.
    Page,
}

impl Rejoin {
    /// The default: with `Immediate`, the first request of any kind begins a session, so it may also restart one.
    #[must_use]
    pub fn usual(admission: Admission) -> Rejoin {
        match admission {
            Admission::Returning => Rejoin::Page,
            Admission::Immediate => Rejoin::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let matches = |pattern: &str, text: &str| Pattern::new(pattern).matches(text);
        for (pattern, text) in [
            ("/a", "/a"),
            ("/a*", "/a"),
            ("/a*", "/a/b"),
            ("*", ""),
            ("*.js", "/x/y.js"),
            ("/api/*/status", "/api/x/y/status"),
            ("a*b*c", "abc"),
            ("a**c", "ac"),
            ("a*é*c", "aéc"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("/a", "/a/"),
            ("/a", "/"),
            ("a*a", "a"),
            ("ab*ba", "aba"),
            ("*.js", "/x.jsx"),
            ("", "x"),
            ("a*b*c", "acb"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn speculative_loads_and_health_checks_are_passive_by_default() {
        let usual = Passive::usual();
        let is = |fields: &[(&str, &str)]| usual.iter().any(|rule| rule.matches(&request("GET", "/x?y", fields)));
        for fields in [
            ("sec-purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("sec-purpose", "prefetch;anonymous-client-ip"),
            ("purpose", "prefetch"),
            ("x-moz", "Prefetch"),
            ("user-agent", "kube-probe/1.36"),
            ("user-agent", "ELB-HealthChecker/2.0"),
            ("user-agent", "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)"),
        ] {
            assert!(is(&[fields]), "{fields:?}");
        }
        for fields in [("user-agent", "Mozilla/5.0"), ("sec-fetch-mode", "navigate"), ("sec-purpose", "prefetched")] {
            assert!(!is(&[fields]), "{fields:?}");
        }
        assert!(!is(&[]));
        let post = request("POST", "/", &[("user-agent", "kube-probe/1.36")]);
        assert!(!usual.iter().any(|rule| rule.matches(&post)));
    }

    #[test]
    fn all_conditions_of_a_rule_hold_at_once() {
        let rule = Passive {
            paths: vec![Pattern::new("/api/*")],
            methods: vec![Method::GET],
            fetch: vec![(Field::Mode, "cors".into()), (Field::Mode, "same-origin".into())],
            ..Passive::default()
        };
        let cors = [("sec-fetch-mode", "cors")];
        assert!(rule.matches(&request("GET", "/api/status?x=/other", &cors)));
        assert!(rule.matches(&request("GET", "/api/", &[("sec-fetch-mode", "same-origin")])));
        assert!(!rule.matches(&request("POST", "/api/status", &cors)));
        assert!(!rule.matches(&request("GET", "/lab", &cors)));
        assert!(!rule.matches(&request("GET", "/api/status", &[])));
    }
}
