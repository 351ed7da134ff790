//! Spare slots by day and hour: which number applies at a moment, and when it changes next. Windows are in local time of one
//! time zone, from the database built into the program, independent of the one installed on the machine.
//!
//! A window belongs to the day it starts on. If a clock change skips its start or end, it is later by the length of the gap;
//! if a clock change repeats it, the first occurrence counts (RFC 5545, "compatible").

use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use slotkeeper_core::{Spare, Time};
use std::fmt;

/// A weekly schedule in one time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    zone: TimeZone,
    zone_name: String,
    base: Spare,
    windows: Vec<Window>,
}

/// Part of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The days on which it begins.
    pub days: Days,
    /// When it begins, in the schedule's time zone.
    pub from: Minute,
    /// Not after `from`: on the next day.
    pub to: Minute,
    /// The spare slots in it.
    pub spare: Spare,
}

/// A set of weekdays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Days([bool; 7]);

/// Minutes since midnight, 0 to 1440.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(u16);

/// No time zone of the IANA database has this name.
#[derive(Debug, thiserror::Error)]
#[error("no time zone has this name")]
pub struct UnknownZone;

impl Schedule {
    /// # Errors
    /// When there is no such time zone (names as in `Europe/Berlin`).
    pub fn new(zone: &str, base: Spare, windows: Vec<Window>) -> Result<Schedule, UnknownZone> {
        let found = TimeZoneDatabase::bundled().get(zone).map_err(|_| UnknownZone)?;
        Ok(Schedule { zone: found, zone_name: zone.to_owned(), base, windows })
    }

    /// Returns the name of the time zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// Returns the windows in the order of the configuration.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The number that applies at this moment: the largest of the windows that contain it; outside of all windows the
    /// pool's own.
    #[must_use]
    pub fn now(&self, at: Time) -> Spare {
        let Some((moment, today)) = self.local(at) else { return self.base };
        self.spans(today, -1..=0)
            .filter(|(from, to, _)| *from <= moment && moment < *to)
            .map(|(_, _, spare)| spare)
            .max_by_key(|spare| match *spare {
                Spare::Slots(n) | Spare::Percent(n) => n,
            })
            .unwrap_or(self.base)
    }

    /// The first moment after this one at which another number applies; `None` if the number never changes.
    #[must_use]
    pub fn next_change(&self, at: Time) -> Option<Time> {
        let (moment, today) = self.local(at)?;
        // A clock change can skip a window in one week, not in two weeks in a row.
        let mut edges: Vec<Timestamp> =
            self.spans(today, -1..=15).flat_map(|(from, to, _)| [from, to]).filter(|edge| *edge > moment).collect();
        edges.sort_unstable();
        let before = self.now(at);
        edges
            .into_iter()
            .filter_map(|edge| u64::try_from(edge.as_millisecond()).ok().map(Time))
            .find(|edge| self.now(*edge) != before)
    }

    fn local(&self, at: Time) -> Option<(Timestamp, Date)> {
        let moment = Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
        Some((moment, self.zone.to_datetime(moment).date()))
    }

    /// The windows that start on the days from `today + days`, as moments.
    fn spans(
        &self,
        today: Date,
        days: std::ops::RangeInclusive<i64>,
    ) -> impl Iterator<Item = (Timestamp, Timestamp, Spare)> {
        days.filter_map(move |n| today.checked_add(Span::new().try_days(n).ok()?).ok()).flat_map(move |day| {
            self.windows.iter().filter(move |window| window.days.contains(day.weekday())).filter_map(move |window| {
                let last = if window.to > window.from { day } else { day.tomorrow().ok()? };
                Some((self.moment(day, window.from)?, self.moment(last, window.to)?, window.spare))
            })
        })
    }

    fn moment(&self, day: Date, minute: Minute) -> Option<Timestamp> {
        let (day, minute) = if minute.0 >= 1440 { (day.tomorrow().ok()?, 0) } else { (day, minute.0) };
        let local = day.at((minute / 60) as i8, (minute % 60) as i8, 0, 0);
        self.zone.to_ambiguous_timestamp(local).compatible().ok()
    }
}

impl Minute {
    /// The start of a day.
    pub const MIDNIGHT: Minute = Minute(0);
    /// The end of a day, as the end of a window.
    pub const END_OF_DAY: Minute = Minute(1440);

    /// `08:30`; up to `24:00`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Minute> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |part: &str| (part.len() == 2).then(|| part.parse::<u16>().ok())?;
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        (minutes < 60 && hours * 60 + minutes <= 1440).then_some(Minute(hours * 60 + minutes))
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Days {
    /// No day.
    pub const NONE: Days = Days([false; 7]);
    /// All seven days.
    pub const DAILY: Days = Days([true; 7]);

    /// `mon`, `mon-fri`, `fri-mon` or `daily`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Days> {
        let day = |name: &str| NAMES.iter().position(|known| *known == name);
        if text == "daily" {
            return Some(Days::DAILY);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        let mut days = Days::NONE;
        for n in 0..=length {
            days.0[(first + n) % 7] = true;
        }
        Some(days)
    }

    /// The days that are in either set.
    #[must_use]
    pub fn and(self, other: Days) -> Days {
        Days(std::array::from_fn(|n| self.0[n] || other.0[n]))
    }

    /// Returns whether the day is in the set.
    #[must_use]
    pub fn contains(self, day: Weekday) -> bool {
        self.0.get(day.to_monday_zero_offset() as usize).copied().unwrap_or(false)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Days::DAILY {
            return f.write_str("daily");
        }
        let names: Vec<&str> = NAMES.iter().zip(self.0).filter_map(|(name, set)| set.then_some(*name)).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Debug for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
