//! How a value of each Rust type is read from the file and shown: numbers, durations, choices.

use super::schedule::Minute;
use super::setting::{Kind, Shown};
use super::table::{Value, millis};
use slotkeeper_core::Millis;
use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A type that a setting can have. Wrong values are reported.
pub(super) trait Field: Clone + Debug {
    fn read(kind: Kind, value: &Value<'_>) -> Option<Self>;
    fn shown(&self, kind: Kind) -> Shown;
}

/// A type with some values, each with its name in the file and its meaning; an empty meaning is part of the setting's help.
pub(super) trait Choices: Clone + Copy + PartialEq + Debug + 'static {
    const ALL: &'static [(&'static str, Self, &'static str)];

    /// The name in the file.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, value, _)| *value == self).map_or("", |(name, ..)| name)
    }

    fn means(self) -> &'static str {
        Self::ALL.iter().find(|(_, value, _)| *value == self).map_or("", |(.., means)| means)
    }
}

/// The kind of a setting with these choices.
pub(super) const fn choice<T: Choices>() -> Kind {
    Kind::Choice(|| T::ALL.iter().map(|(name, _, means)| (*name, *means)).collect())
}

impl<T: Choices> Field for T {
    fn read(_: Kind, value: &Value<'_>) -> Option<T> {
        value.choice(T::ALL)
    }

    fn shown(&self, _: Kind) -> Shown {
        Shown::text(self.name())
    }
}

impl Field for bool {
    fn read(_: Kind, value: &Value<'_>) -> Option<bool> {
        value.bool()
    }

    fn shown(&self, _: Kind) -> Shown {
        Shown::plain(self)
    }
}

macro_rules! whole_numbers {
    ($($number:ty)*) => {$(
        impl Field for $number {
            fn read(kind: Kind, value: &Value<'_>) -> Option<$number> {
                <$number>::try_from(whole(kind, value)?).ok()
            }

            fn shown(&self, _: Kind) -> Shown {
                Shown::plain(self)
            }
        }

        /// Without a number: the text that the kind allows, or not set.
        impl Field for Option<$number> {
            fn read(kind: Kind, value: &Value<'_>) -> Option<Option<$number>> {
                if let Kind::Number { or: Some(text), .. } = kind
                    && value.is_text(text)
                {
                    return Some(None);
                }
                Field::read(kind, value).map(Some)
            }

            fn shown(&self, kind: Kind) -> Shown {
                match (self, kind) {
                    (Some(number), _) => Shown::plain(number),
                    (None, Kind::Number { or: Some(text), .. }) => Shown::text(text),
                    (None, _) => Shown::Words("none"),
                }
            }
        }
    )*};
}

whole_numbers!(u16 u32 u64 usize);

fn whole(kind: Kind, value: &Value<'_>) -> Option<u64> {
    let (least, most) = if let Kind::Number { least, most, .. } = kind { (least, most) } else { (0, u64::MAX) };
    value.number(&(least..=most))
}

impl Field for Duration {
    fn read(kind: Kind, value: &Value<'_>) -> Option<Duration> {
        let Kind::Seconds { least, most, off } = kind else { return value.seconds(&(0.0..=f64::MAX), false) };
        value.seconds(&(least..=most), off)
    }

    fn shown(&self, kind: Kind) -> Shown {
        let off = matches!(kind, Kind::Seconds { off: true, .. });
        if off && self.is_zero() { Shown::text(Shown::OFF) } else { Shown::Seconds(*self) }
    }
}

impl Field for Option<Duration> {
    fn read(kind: Kind, value: &Value<'_>) -> Option<Option<Duration>> {
        Duration::read(kind, value).map(|duration| (!duration.is_zero()).then_some(duration))
    }

    fn shown(&self, kind: Kind) -> Shown {
        self.unwrap_or_default().shown(kind)
    }
}

impl Field for Millis {
    fn read(kind: Kind, value: &Value<'_>) -> Option<Millis> {
        Duration::read(kind, value).map(millis)
    }

    fn shown(&self, kind: Kind) -> Shown {
        Duration::from_millis(self.0).shown(kind)
    }
}

impl Field for Option<Millis> {
    fn read(kind: Kind, value: &Value<'_>) -> Option<Option<Millis>> {
        Millis::read(kind, value).map(|time| (time.0 > 0).then_some(time))
    }

    fn shown(&self, kind: Kind) -> Shown {
        self.unwrap_or_default().shown(kind)
    }
}

impl Field for Option<PathBuf> {
    fn read(_: Kind, value: &Value<'_>) -> Option<Option<PathBuf>> {
        value.path().map(Some)
    }

    fn shown(&self, _: Kind) -> Shown {
        Shown::or(&self.as_ref().map(|path| path.display()), "none")
    }
}

/// A value that is a text in the file.
pub(super) trait Written {
    fn written(&self, none: &'static str) -> Shown;
}

impl Written for String {
    fn written(&self, _: &'static str) -> Shown {
        Shown::text(self)
    }
}

impl Written for IpAddr {
    fn written(&self, _: &'static str) -> Shown {
        Shown::text(self)
    }
}

impl Written for Minute {
    fn written(&self, _: &'static str) -> Shown {
        Shown::text(self)
    }
}

impl<T: Display> Written for Option<T> {
    fn written(&self, none: &'static str) -> Shown {
        Shown::or(self, none)
    }
}
